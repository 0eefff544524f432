// What sessions keep for Backward, under the quota that they share.
#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

constexpr std::int64_t kRows = 256;
constexpr std::int64_t kXBytes = kRows * 2 * 8;
// Room for three inputs with their sums, not for four.
constexpr std::int64_t kThreeInputs = 3 * kXBytes + kXBytes / 2;

class KeptInputTest : public ::testing::Test {
 protected:
  static Tensor Batch(unsigned seed) {
    return F64({kRows, 2}, Normals(2 * kRows, seed));
  }

  static void Step(Session& session, std::uint64_t step) {
    ASSERT_THAT(
        Forward(session, Train(step, Batch(static_cast<unsigned>(step)))),
        IsOk());
  }

  static absl::Status Use(Session& session, std::uint64_t step) {
    return Backward(session, Gradient(step, Batch(99))).status();
  }

  InputQuota quota_{kThreeInputs};
};

TEST_F(KeptInputTest, TheRequestsBytesAreKeptWithoutACopy) {
  const auto session = Open(quota_, Config(2));
  const Tensor x = Batch(1);
  ASSERT_EQ(x.data.use_count(), 1);
  ASSERT_THAT(Forward(*session, Train(1, x)), IsOk());
  EXPECT_EQ(x.data.use_count(), 2);
  EXPECT_EQ(session->GetSnapshot(false).kept_input_bytes, kXBytes);
}

TEST_F(KeptInputTest, BeyondTheQuotaTheOldestUnusedStepGoesFirst) {
  const auto session = Open(quota_, Config(2));
  for (std::uint64_t step = 1; step <= 3; ++step) Step(*session, step);
  EXPECT_THAT(Use(*session, 1), IsOk());  // now 2 is the least recently used
  Step(*session, 4);
  EXPECT_THAT(Use(*session, 2), HasReason("INPUT_EVICTED"));
  EXPECT_THAT(Use(*session, 1), IsOk());
  EXPECT_THAT(Use(*session, 3), IsOk());
  EXPECT_THAT(Use(*session, 4), IsOk());
  const Snapshot snapshot = session->GetSnapshot(false);
  EXPECT_EQ(snapshot.kept_input_bytes, 3 * kXBytes);
  EXPECT_EQ(snapshot.counters.evicted_input_count, 1);
}

TEST_F(KeptInputTest, SessionsShareTheQuota) {
  const auto quiet = Open(quota_, Config(2));
  const auto busy = Open(quota_, Config(2));
  Step(*quiet, 1);
  for (std::uint64_t step = 1; step <= 3; ++step) Step(*busy, step);
  EXPECT_THAT(Use(*quiet, 1), HasReason("INPUT_EVICTED"));
  EXPECT_EQ(quiet->GetSnapshot(false).counters.evicted_input_count, 1);
  EXPECT_EQ(busy->GetSnapshot(false).counters.evicted_input_count, 0);
  EXPECT_THAT(Use(*busy, 1), IsOk());
}

TEST_F(KeptInputTest, AStepThatLeavesTheWindowTakesItsInputAlong) {
  SessionConfig config = Config(2);
  config.step_window = 2;
  const auto session = Open(quota_, config);
  const Tensor first = Batch(1);
  ASSERT_THAT(Forward(*session, Train(1, first)), IsOk());
  for (std::uint64_t step = 2; step <= 5; ++step) Step(*session, step);
  EXPECT_EQ(first.data.use_count(), 1);
  const Snapshot snapshot = session->GetSnapshot(false);
  EXPECT_EQ(snapshot.kept_input_bytes, 2 * kXBytes);
  EXPECT_EQ(snapshot.counters.evicted_input_count, 0);
}

TEST_F(KeptInputTest, AnInputAboveTheWholeQuotaIsNotKeptAndTheStepIsTaken) {
  InputQuota small(kXBytes - 1);
  const auto session = Open(small, Config(2));
  Step(*session, 1);
  EXPECT_EQ(session->GetSnapshot(false).last_step, 1u);
  EXPECT_EQ(session->GetSnapshot(false).kept_input_bytes, 0);
  EXPECT_EQ(session->GetSnapshot(false).counters.evicted_input_count, 0);
  EXPECT_THAT(Use(*session, 1), HasReason("INPUT_EVICTED"));
}

TEST_F(KeptInputTest, ReplaysInferencesAndRefusedCallsKeepNothing) {
  const auto session = Open(quota_, Config(2));
  Step(*session, 1);
  const std::int64_t used = quota_.used_bytes();
  Step(*session, 1);
  EXPECT_THAT(Forward(*session, Train(1, Batch(7))), HasReason("STEP_REUSED"));
  EXPECT_THAT(Forward(*session, Train(3, Batch(7))), HasReason("STEP_GAP"));
  EXPECT_THAT(Forward(*session, Infer(Batch(7))), IsOk());
  EXPECT_EQ(quota_.used_bytes(), used);
}

TEST_F(KeptInputTest, ClosingASessionReleasesItsBytes) {
  const auto session = Open(quota_, Config(2));
  const Tensor x = Batch(1);
  ASSERT_THAT(Forward(*session, Train(1, x)), IsOk());
  session->Close();
  EXPECT_EQ(x.data.use_count(), 1);
  EXPECT_EQ(quota_.used_bytes(), 0);
  EXPECT_EQ(session->GetSnapshot(false).kept_input_bytes, 0);
}

TEST_F(KeptInputTest, AClosedSessionAnswersNotFound) {
  const auto session = Open(quota_, Config(2));
  Step(*session, 1);
  session->Close();
  const absl::Status results[] = {
      Forward(*session, Train(2, Batch(2))).status(),
      Forward(*session, Train(1, Batch(1))).status(),
      Forward(*session, Infer(Batch(1))).status(),
      Use(*session, 1),
      Backward(*session, Resend(Gradient(1, Batch(9)), Batch(1))).status(),
      session->Update(1, 1),
  };
  for (const absl::Status& status : results) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(status, HasReason("SESSION_NOT_FOUND"));
    EXPECT_THAT(status, HasText("\"layer\""));
  }
  EXPECT_EQ(quota_.used_bytes(), 0);
}

}  // namespace
}  // namespace batchnorm::session
