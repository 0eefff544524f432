// The default bounds, on a batch whose every number is known by hand:
//
//   one channel, x = 1, 3, 1, 3: mean 2, var 1; eps 0 gives inv_std 1
//   x_hat = -1, 1, -1, 1; gamma 2, beta 0.5: y = -1.5, 2.5, -1.5, 2.5
//   dy = 1, 2, 3, 6: dbeta 12, dgamma 4
//   dx = 2 (dy - 3 - x_hat) = -2, -4, 2, 4
//
// sum|x| = 8, sum|dy| = 12, sum|dy x_hat| = 12. With n = 4, g = 4 + 2/64.
#include "client/cli/bounds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "client/cli/channel_index.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

constexpr double kEpsilon = 0x1p-23;
constexpr double kGrowth = 4 + 2.0 / 64;
constexpr double kMeanSlack = kGrowth * kEpsilon * 2;
// Growth of the sum, the rounded mean (4 eps 2 sqrt(1/4)), and its square.
constexpr double kVarSlack =
    kGrowth * kEpsilon + 4 * kEpsilon + kMeanSlack * kMeanSlack;
constexpr double kInvStdSlack = 4 * kEpsilon + kVarSlack / 2;

auto Near(double value) { return DoubleNear(value, value * 1e-12); }

client::EvaluateArgs Args() {
  client::EvaluateArgs args;
  args.normalization.eps = 0;
  args.normalization.new_weight = 0.25;
  args.x = MakeTensor(std::vector<double>{1, 3, 1, 3}, {4, 1});
  args.gamma = MakeTensor(std::vector<double>{2}, {1});
  args.beta = MakeTensor(std::vector<double>{0.5}, {1});
  args.dy = MakeTensor(std::vector<double>{1, 2, 3, 6}, {4, 1});
  args.running_statistics = client::RunningStatistics{{4}, {8}, 1};
  return args;
}

client::EvaluateResult Answer() {
  client::EvaluateResult result;
  result.y = MakeTensor(std::vector<double>{-1.5, 2.5, -1.5, 2.5}, {4, 1});
  result.statistics = client::BatchStatistics{4, {2}, {0}, {1}, {1}};
  result.running_statistics =
      client::RunningStatistics{{3.5}, {6 + 1.0 / 3}, 2};
  result.dx = MakeTensor(std::vector<double>{-2, -4, 2, 4}, {4, 1});
  result.dgamma = std::vector<double>{4};
  result.dbeta = std::vector<double>{12};
  return result;
}

class BoundsTest : public ::testing::Test {
 protected:
  Expected Expect(Role role, Dtype dtype = Dtype::kF32) {
    return truth_.Expect(role, dtype).value();
  }
  TruthOfBatch truth_{Args(), Answer()};
};

TEST_F(BoundsTest, YMayBeOffByWhatItsStatisticsAreOff) {
  const Expected y = Expect(Role::kY);
  EXPECT_THAT(y.values, ElementsAre(-1.5, 2.5, -1.5, 2.5));
  EXPECT_EQ(y.magnitude(0), 2);    // gamma x_hat
  EXPECT_EQ(y.magnitude(1), 2.5);  // y
  EXPECT_THAT(y.slack(0), Near(2 * (kInvStdSlack + kMeanSlack)));
}

TEST_F(BoundsTest, TheMeanMayBeOffByTheErrorOfItsSum) {
  const Expected mean = Expect(Role::kMean);
  EXPECT_TRUE(mean.per_channel);
  EXPECT_EQ(mean.magnitude(0), 2);
  EXPECT_THAT(mean.slack(0), Near(kMeanSlack));
}

TEST_F(BoundsTest, TheVarianceMayBeOffByItsSumAndByTheMean) {
  EXPECT_THAT(Expect(Role::kVar).slack(0), Near(kVarSlack));
  EXPECT_THAT(Expect(Role::kInvStd).slack(0), Near(kInvStdSlack));
}

TEST_F(BoundsTest, RunningStatisticsTakeTheirShareOfTheBatch) {
  const Expected mean = Expect(Role::kRunningMean);
  EXPECT_EQ(mean.magnitude(0), 3);  // (1 - w) 4
  EXPECT_THAT(mean.slack(0), Near(kMeanSlack / 4));
  const Expected var = Expect(Role::kRunningVar);
  EXPECT_EQ(var.magnitude(0), 6);                          // (1 - w) 8
  EXPECT_THAT(var.slack(0), Near(kVarSlack / 4 * 4 / 3));  // w n / (n - 1)
}

TEST_F(BoundsTest, SumsOfGradientsMayBeOffRelativeToTheirTerms) {
  const Expected dbeta = Expect(Role::kDbeta);
  EXPECT_EQ(dbeta.magnitude(0), 12);
  EXPECT_THAT(dbeta.slack(0), Near(kGrowth * kEpsilon * 12));
  const Expected dgamma = Expect(Role::kDgamma);
  EXPECT_EQ(dgamma.magnitude(0), 4);
  EXPECT_THAT(dgamma.slack(0),
              Near((kGrowth * kEpsilon + kInvStdSlack) * 12 + kMeanSlack * 12));
}

TEST_F(BoundsTest, DxMayBeOffRelativeToItsTermsAndNotToItself) {
  const Expected dx = Expect(Role::kDx);
  // T = |dy - 3| + |x_hat * 1|: for dy = 2 it is 2, and gamma is 2.
  EXPECT_EQ(dx.magnitude(1), 4);
  const double dgamma_slack = Expect(Role::kDgamma).slack(0);
  EXPECT_THAT(dx.slack(1),
              Near(2 * (kInvStdSlack * 2 + kGrowth * kEpsilon * 3 +
                        dgamma_slack / 4 + kInvStdSlack + kMeanSlack)));
}

TEST_F(BoundsTest, SixteenBitResultsAreComputedInFloat) {
  EXPECT_EQ(Expect(Role::kMean, Dtype::kF16).slack(0),
            Expect(Role::kMean, Dtype::kF32).slack(0));
  EXPECT_EQ(Expect(Role::kMean, Dtype::kBF16).slack(0),
            Expect(Role::kMean, Dtype::kF32).slack(0));
}

TEST_F(BoundsTest, DoublesHaveTheirOwnBound) {
  EXPECT_THAT(Expect(Role::kMean, Dtype::kF64).slack(0),
              Near(kMeanSlack * 0x1p-29));
}

TEST(TruthOfBatchTest, WhatWasNotComputedIsNotExpected) {
  client::EvaluateResult only_statistics;
  only_statistics.statistics = Answer().statistics;
  client::EvaluateArgs args = Args();
  args.dy.reset();
  const TruthOfBatch truth(args, only_statistics);
  for (const Role role : {Role::kY, Role::kDx, Role::kDgamma, Role::kDbeta,
                          Role::kRunningMean, Role::kX}) {
    EXPECT_FALSE(truth.Expect(role, Dtype::kF32).has_value());
  }
  EXPECT_TRUE(truth.Expect(Role::kVar, Dtype::kF32).has_value());
}

TEST(TruthOfBatchTest, HoweverBadTheConditionTheAllowanceHasAnEnd) {
  client::EvaluateArgs args = Args();
  args.x = MakeTensor(std::vector<double>{1e9 - 1, 1e9 + 1, 1e9 - 1, 1e9 + 1},
                      {4, 1});
  client::EvaluateResult answer = Answer();
  answer.statistics->mean = {1e9};
  const TruthOfBatch truth(args, answer);
  // 1/16 of a standard deviation, and of the variance.
  const double inv_std = 4 * kEpsilon + (kGrowth * kEpsilon + 1.0 / 16) / 2;
  EXPECT_THAT(truth.Expect(Role::kY, Dtype::kF32)->slack(0),
              Near(2 * (inv_std + 1.0 / 16)));
  EXPECT_THAT(truth.Expect(Role::kVar, Dtype::kF32)->slack(0),
              Near(kGrowth * kEpsilon + 1.0 / 16));
}

TEST(TruthOfBatchTest, ByRunningStatisticsNoSumStandsBehindY) {
  client::EvaluateArgs args = Args();
  args.mode = client::Mode::kInference;
  const TruthOfBatch truth(args, Answer());
  EXPECT_THAT(truth.Expect(Role::kY, Dtype::kF32)->slack(0),
              Near(2 * (4 * kEpsilon + 8 * kEpsilon)));
  EXPECT_THAT(truth.Expect(Role::kDx, Dtype::kF32)->slack(0),
              Near(2 * 4 * kEpsilon));
}

TEST(ChannelIndexTest, CountsAlongTheChannelAxes) {
  const std::vector<std::int64_t> shape = {2, 3, 4};
  const ChannelIndex middle(shape, std::vector<std::int32_t>{1});
  EXPECT_EQ(middle(0), 0U);
  EXPECT_EQ(middle(4), 1U);
  EXPECT_EQ(middle(12 + 8 + 3), 2U);
  const ChannelIndex last(shape, std::vector<std::int32_t>{-1});
  EXPECT_EQ(last(4 + 3), 3U);
  const ChannelIndex standard(shape, {});
  EXPECT_EQ(standard(8), 2U);
}

TEST(ChannelIndexTest, SeveralAxesAreRowMajorInAscendingOrder) {
  const std::vector<std::int64_t> shape = {2, 3, 4};
  const ChannelIndex both(shape, std::vector<std::int32_t>{2, 0});
  EXPECT_EQ(both(0 + 4 + 1), 1U);
  EXPECT_EQ(both(12 + 8 + 3), 4U + 3U);
}

}  // namespace
}  // namespace batchnorm::cli
