// How a training program that is restarted takes its session over, and how a
// checkpoint holds one; quoted by client/README.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "client/client.h"
#include "client/mock_connection.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::Property;
using ::testing::Return;

// What a user might have written.
// [restart]
absl::StatusOr<Layer> Reopen(const Client& client, std::uint64_t saved_step) {
  auto layer = client.OpenLayer("enc.bn1", {.channels = 1});
  if (!layer.ok()) return layer;
  absl::Status acquired = layer->Acquire(saved_step);
  if (!acquired.ok()) return acquired;
  return layer;  // continues after layer->last_step()
}
// [END restart]

// [restore]
absl::StatusOr<Layer> Reopen(const Client& client,
                             const SessionSnapshot& saved) {
  auto layer = client.OpenLayer("enc.bn1", saved.config);
  if (!layer.ok()) return layer;
  absl::Status status = layer->Acquire(0);
  if (status.ok()) status = layer->Restore(saved);
  if (!status.ok()) return status;
  return layer;  // continues after saved.last_step
}
// [END restore]

class RestartTest : public ::testing::Test {
 protected:
  // The server's session is at `step`.
  void SetServerStep(std::uint64_t step) {
    v1::CreateSessionResponse created;
    created.mutable_session()->set_name("enc.bn1");
    created.mutable_session()->set_last_step(step);
    ON_CALL(*connection_, CreateSession).WillByDefault(Return(created));
    v1::AcquireSessionResponse acquired;
    acquired.set_writer_token("w1");
    acquired.set_last_step(step);
    ON_CALL(*connection_, AcquireSession).WillByDefault(Return(acquired));
    ON_CALL(*connection_, ImportSession)
        .WillByDefault(Return(v1::ImportSessionResponse()));
  }

  std::shared_ptr<::testing::NiceMock<MockConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockConnection>>();
  Client client_{connection_};
};

TEST_F(RestartTest, ContinuesAfterTheSessionsLastStep) {
  SetServerStep(43);
  const auto layer = Reopen(client_, 41);
  ASSERT_THAT(layer, IsOk());
  EXPECT_EQ(layer->last_step(), 43U);
}

TEST_F(RestartTest, ASessionBehindTheCheckpointIsAnError) {
  SetServerStep(0);
  EXPECT_CALL(
      *connection_,
      AcquireSession(Property(&v1::AcquireSessionRequest::at_least_step, 41U)))
      .WillOnce(Return(ServerError(absl::StatusCode::kDataLoss, "STEPS_LOST")));
  EXPECT_THAT(Reopen(client_, 41),
              HasCodeAndReason(absl::StatusCode::kDataLoss, "STEPS_LOST"));
}

TEST_F(RestartTest, ASnapshotSetsTheSessionWhereverItIs) {
  for (const std::uint64_t step : {0U, 41U, 43U}) {
    SetServerStep(step);
    EXPECT_CALL(
        *connection_,
        ImportSession(Property(&v1::ImportSessionRequest::writer_token, "w1")));
    const auto layer =
        Reopen(client_, {.config = {.channels = 1}, .last_step = 41});
    ASSERT_THAT(layer, IsOk());
    EXPECT_EQ(layer->last_step(), 41U);
  }
}

}  // namespace
}  // namespace batchnorm::client
