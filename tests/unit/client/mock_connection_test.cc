// How a program tests its own training loop without a server; quoted by
// client/mock_connection.h.
#include "client/mock_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "client/client.h"
#include "client/error.h"
#include "tests/unit/client/errors.h"

namespace batchnorm::client {
namespace {

// What a user might have written: true if the step is to be skipped.
bool SkipsBadBatch(Layer& layer, Tensor x) {
  return Reason(layer.Forward({.x = std::move(x)}).status()) ==
         "NON_FINITE_INPUT";
}

TEST(MockConnection, StandsInForAServer) {
  const absl::Status non_finite =
      ServerError(absl::StatusCode::kInvalidArgument, "NON_FINITE_INPUT");
  const Tensor x = MakeTensor(std::vector<float>{1}, {1, 1});
  // [mock]
  auto connection = std::make_shared<MockConnection>();
  EXPECT_CALL(*connection, CreateSession)
      .WillOnce(testing::Return(v1::CreateSessionResponse()));
  EXPECT_CALL(*connection, Forward).WillOnce(testing::Return(non_finite));

  Client client(connection);
  auto layer = client.OpenLayer("enc.bn1", {.channels = 1});
  EXPECT_TRUE(SkipsBadBatch(*layer, x));
  // [END mock]
}

}  // namespace
}  // namespace batchnorm::client
