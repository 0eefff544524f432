// The same step sent again: answered with the same bytes and not applied, or
// refused because it is not the same.
#include <functional>

#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

class ReplayTest : public SessionTest {
 protected:
  static ForwardCall Full(std::uint64_t step, const Tensor& x) {
    ForwardCall call = Train(step, x);
    call.gamma = F64({2}, {2, 3});
    call.beta = F64({2}, {-1, 1});
    call.new_weight = 0.3;
    return call;
  }
};

TEST_F(ReplayTest, AStepOfTheWindowIsAnsweredWithTheSameBytes) {
  const auto session = Open(quota_, Config(2));
  const auto first = Forward(*session, Full(1, x_));
  ASSERT_THAT(first, IsOk());
  const Snapshot before = session->GetSnapshot(true);
  const auto again = Forward(*session, Full(1, x_));
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(again->step, 1u);
  EXPECT_EQ(again->y, first->y);
  EXPECT_EQ(again->statistics->mean, first->statistics->mean);
  EXPECT_EQ(again->statistics->var, first->statistics->var);
  EXPECT_EQ(again->statistics->inv_std, first->statistics->inv_std);
  const Snapshot after = session->GetSnapshot(true);
  EXPECT_EQ(after.last_step, before.last_step);
  EXPECT_EQ(after.running->mean, before.running->mean);
  EXPECT_EQ(after.running->var, before.running->var);
  EXPECT_EQ(after.running->batch_count, 1);
  EXPECT_EQ(after.counters.forward_count, 1);
  EXPECT_EQ(after.counters.replay_count, 1);
}

TEST_F(ReplayTest, LaterStepsDoNotChangeAnEarlierReply) {
  const auto session = Open(quota_, Config(2));
  const auto first = Forward(*session, Full(1, x_));
  for (std::uint64_t step = 2; step <= 8; ++step) {
    ASSERT_THAT(Forward(*session, Full(step, other_x_)), IsOk());
  }
  const auto again = Forward(*session, Full(1, x_));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->y, first->y);
}

TEST_F(ReplayTest, TheWindowHoldsExactlyItsNumberOfSteps) {
  SessionConfig config = Config(2);
  config.step_window = 3;
  const auto session = Open(quota_, config);
  for (std::uint64_t step = 1; step <= 4; ++step) {
    ASSERT_THAT(Forward(*session, Full(step, x_)), IsOk());
  }
  EXPECT_THAT(Forward(*session, Full(1, x_)), HasReason("STEP_TOO_OLD"));
  for (std::uint64_t step = 2; step <= 4; ++step) {
    EXPECT_TRUE(Forward(*session, Full(step, x_))->replayed);
  }
}

TEST_F(ReplayTest, AReplayNeedsNoKeptInput) {
  InputQuota nothing(0);
  const auto session = Open(nothing, Config(2));
  const auto first = Forward(*session, Full(1, x_));
  const auto again = Forward(*session, Full(1, x_));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->y, first->y);
}

TEST_F(ReplayTest, AnEmptyBatchIsReplayedToo) {
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Train(1, F32({0, 2}, {}))), IsOk());
  EXPECT_TRUE(Forward(*session, Train(1, F32({0, 2}, {})))->replayed);
  EXPECT_THAT(Forward(*session, Train(1, x_)), HasReason("STEP_REUSED"));
}

TEST_F(ReplayTest, TheWeightInForceCountsNotWhereItCameFrom) {
  const auto session = Open(quota_, Config(2));  // new_weight 0.1
  ASSERT_THAT(Forward(*session, Train(1, x_)), IsOk());
  ForwardCall spelled_out = Train(1, x_);
  spelled_out.new_weight = 0.1;
  EXPECT_TRUE(Forward(*session, spelled_out)->replayed);
}

TEST_F(ReplayTest, GammaOfAnotherDtypeWithTheSameValuesIsTheSame) {
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Full(1, x_)), IsOk());
  ForwardCall call = Full(1, x_);
  call.gamma = F32({2, 1}, {2, 3});
  EXPECT_TRUE(Forward(*session, call)->replayed);
}

TEST_F(ReplayTest, AnyOtherInputReusesTheStep) {
  const std::function<void(ForwardCall&)> changes[] = {
      [this](auto& c) { c.x = other_x_; },
      [](auto& c) { c.x = F32({4, 2}, {1, 5, 2, 6, 3, 7, 4, 9}); },
      [](auto& c) { c.x.shape = {2, 2, 2}; },
      [](auto& c) { c.gamma = F64({2}, {2, 3.5}); },
      [](auto& c) { c.gamma.reset(); },
      [](auto& c) { c.beta = F64({2}, {-1, 1.5}); },
      [](auto& c) { c.beta.reset(); },
      [](auto& c) { c.new_weight = 0.25; },
      [](auto& c) { c.new_weight.reset(); },
  };
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Full(1, x_)), IsOk());
  const Snapshot before = session->GetSnapshot(true);
  for (const auto& change : changes) {
    ForwardCall call = Full(1, x_);
    change(call);
    const auto result = Forward(*session, call);
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(result, HasReason("STEP_REUSED"));
    EXPECT_THAT(result, HasField("step"));
    EXPECT_THAT(result, HasText("step 1"));
  }
  ExpectSame(before, session->GetSnapshot(true));
}

TEST_F(ReplayTest, TheTextTellsInputsFromParameters) {
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Full(1, x_)), IsOk());
  EXPECT_THAT(Forward(*session, Full(1, other_x_)), HasText("x and gamma"));
  ForwardCall call = Full(1, x_);
  call.beta.reset();
  EXPECT_THAT(Forward(*session, call), HasText("new_weight and beta"));
}

}  // namespace
}  // namespace batchnorm::session
