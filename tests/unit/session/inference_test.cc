// INFERENCE: normalizes with the running statistics and changes nothing.
#include <cmath>
#include <limits>

#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using ::testing::ElementsAre;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

class InferenceTest : public SessionTest {
 protected:
  // A session of one channel whose running mean is 0 and whose running var is
  // `var`: a batch of mean 0 and unbiased variance 2 enters 1 with a weight w,
  // so that (1 - w) * 1 + w * 2 = 1 + w.
  std::shared_ptr<Session> Standing(double var, double eps,
                                    DegeneratePolicy policy) {
    SessionConfig config = Config(1);
    config.normalization.eps = eps;
    config.normalization.degenerate_policy = policy;
    auto session = Open(quota_, config);
    ForwardCall call = Train(1, F64({2, 1}, {-1, 1}));
    call.new_weight = var - 1;
    EXPECT_THAT(Forward(*session, call), IsOk());
    EXPECT_THAT(session->GetSnapshot(true).running->mean, ElementsAre(0));
    EXPECT_THAT(session->GetSnapshot(true).running->var, ElementsAre(var));
    return session;
  }

  static absl::StatusOr<ForwardResult> InferThreeAndMean(Session& session) {
    return Forward(session, Infer(F64({2, 1}, {3, 0})));
  }
};

TEST_F(InferenceTest, BeforeAnyTrainingMeanIsZeroAndVarIsOne) {
  const auto session = Open(quota_, Config(2));
  const auto result = Forward(*session, Infer(F64({1, 2}, {3, -4})));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->step, 0u);
  EXPECT_EQ(result->statistics_step, 0u);
  EXPECT_FALSE(result->statistics.has_value());
  const double inv_std = static_cast<double>(1 / std::sqrt(1 + 1e-5L));
  const std::vector<double> y = Numbers(result->dtype, result->y);
  EXPECT_DOUBLE_EQ(y[0], 3 * inv_std);
  EXPECT_DOUBLE_EQ(y[1], -4 * inv_std);
}

TEST_F(InferenceTest, UsesTheRunningStatisticsAndNamesTheirStep) {
  SessionConfig config = Config(1);
  config.normalization.new_weight = 1;
  config.normalization.eps = 0;
  const auto session = Open(quota_, config);
  ASSERT_THAT(Forward(*session, Train(1, F64({2, 1}, {1, 3}))), IsOk());
  ForwardCall call = Infer(F64({1, 1}, {6}));
  call.gamma = F64({1}, {3});
  call.beta = F64({1}, {0.5});
  const auto result = Forward(*session, call);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->statistics_step, 1u);
  // mean 2, unbiased var 2.
  EXPECT_DOUBLE_EQ(Numbers(result->dtype, result->y)[0],
                   static_cast<double>(0.5L + 3 * 4 / std::sqrt(2.0L)));
}

TEST_F(InferenceTest, TakesNoStepAndKeepsNothing) {
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Train(1, x_)), IsOk());
  const Snapshot before = session->GetSnapshot(true);
  ASSERT_THAT(Forward(*session, Infer(other_x_)), IsOk());
  Snapshot after = session->GetSnapshot(true);
  EXPECT_EQ(after.counters.inference_count, 1);
  after.counters.inference_count = 0;
  ExpectSame(before, after);
}

TEST_F(InferenceTest, OneValueAndNoValueAreFine) {
  const auto session = Open(quota_, Config(2));
  EXPECT_THAT(Forward(*session, Infer(F64({1, 2}, {1, 2}))), IsOk());
  const auto empty = Forward(*session, Infer(F64({0, 2}, {})));
  ASSERT_THAT(empty, IsOk());
  EXPECT_EQ(empty->y, "");
}

TEST_F(InferenceTest, NonFiniteInputAlwaysPropagatesElementByElement) {
  const auto session = Open(quota_, Config(2));  // rejects when training
  const auto result =
      Forward(*session, Infer(F64({2, 2}, {kNan, 1, 2, -kInf})));
  ASSERT_THAT(result, IsOk());
  const std::vector<double> y = Numbers(result->dtype, result->y);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isfinite(y[1]) && std::isfinite(y[2]));
  EXPECT_EQ(y[3], -kInf);
}

TEST_F(InferenceTest, RunningVarZeroWithoutEpsIsRefusedByDefault) {
  const auto session = Standing(0, 0, DegeneratePolicy::kReject);
  const auto result = InferThreeAndMean(*session);
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(result, HasReason("ZERO_VARIANCE"));
  EXPECT_THAT(result, HasMetadata("channel", "0"));
  EXPECT_THAT(result, HasText("got 0 with eps 0 in channel 0"));
  EXPECT_EQ(session->GetSnapshot(false).counters.inference_count, 0);
}

TEST_F(InferenceTest, RunningVarZeroWithEpsIsFine) {
  const auto session = Standing(0, 0.25, DegeneratePolicy::kReject);
  const auto result = InferThreeAndMean(*session);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(Numbers(result->dtype, result->y), ElementsAre(6, 0));
}

TEST_F(InferenceTest, RunningVarZeroWithoutEpsAndUnitCorrectionGivesBeta) {
  const auto session = Standing(0, 0, DegeneratePolicy::kUnitCorrection);
  const auto result = InferThreeAndMean(*session);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(Numbers(result->dtype, result->y), ElementsAre(0, 0));
}

TEST_F(InferenceTest, RunningVarZeroWithoutEpsInIeeeIsInfAndNan) {
  const auto session = Standing(0, 0, DegeneratePolicy::kIeee);
  const auto result = InferThreeAndMean(*session);
  ASSERT_THAT(result, IsOk());
  const std::vector<double> y = Numbers(result->dtype, result->y);
  EXPECT_EQ(y[0], kInf);
  EXPECT_TRUE(std::isnan(y[1]));
}

TEST_F(InferenceTest, NegativeRunningVarIsRefusedByDefaultWhateverEps) {
  for (const double eps : {0.25, 0.5, 4.0}) {
    const auto session = Standing(-0.5, eps, DegeneratePolicy::kReject);
    const auto result = InferThreeAndMean(*session);
    EXPECT_THAT(result, HasReason("ZERO_VARIANCE"));
    EXPECT_THAT(result, HasText("got -0.5 with eps"));
  }
}

TEST_F(InferenceTest, NegativeRunningVarInIeeeIsNanUnlessEpsExceedsIt) {
  const auto below = Standing(-0.5, 0.25, DegeneratePolicy::kIeee);
  const auto nan = InferThreeAndMean(*below);
  ASSERT_THAT(nan, IsOk());
  EXPECT_TRUE(std::isnan(Numbers(nan->dtype, nan->y)[0]));
  const auto above = Standing(-0.5, 0.75, DegeneratePolicy::kIeee);
  const auto fine = InferThreeAndMean(*above);
  ASSERT_THAT(fine, IsOk());
  EXPECT_THAT(Numbers(fine->dtype, fine->y), ElementsAre(6, 0));
}

}  // namespace
}  // namespace batchnorm::session
