// Channels with too few or equal values: README.md, "Edge cases", 1-15.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/kernel/one_channel.h"

namespace batchnorm::kernel {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsNan;

constexpr Degenerate kIeee = Degenerate::kIeee;
constexpr Degenerate kUnit = Degenerate::kUnitCorrection;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Kind = Degeneracy::Kind;

TEST(DegenerateTest, Case01OneValueWithDdof1IsFoundToBeTooFew) {
  const OneChannel one(Dtype::kF32, {3});
  EXPECT_EQ(FindDegeneracy(one.sums(), 1e-5, 1),
            (Degeneracy{Kind::kTooFewValues, 0}));
  EXPECT_FALSE(FindDegeneracy(one.sums(), 1e-5, 0).has_value());
}

TEST(DegenerateTest, Case02OneValueWithDdof0GivesBetaAndNoGradient) {
  for (const Degenerate degenerate : {kIeee, kUnit}) {
    const OneChannel one(Dtype::kF32, {3}, degenerate);
    EXPECT_THAT(one.Y(1e-5, 2, 0.75), ElementsAre(0.75));
    EXPECT_THAT(one.Dx({5}, 1e-5), ElementsAre(0));
    EXPECT_THAT(one.Backward({5}, 1e-5).dgamma, ElementsAre(0));
    EXPECT_THAT(one.Backward({5}, 1e-5).dbeta, ElementsAre(5));
    const auto running = one.Update({1, 8, 0}, 0.25, 0);
    EXPECT_EQ(running.mean, 1.5);
    EXPECT_EQ(running.var, 6);  // pulled to 0
  }
}

TEST(DegenerateTest, Case03OneValueWithDdof1GivesNanRunningVarByIeee) {
  const auto running = OneChannel(Dtype::kF32, {3}).Update({1, 8, 0}, 0.25, 1);
  EXPECT_EQ(running.mean, 1.5);
  EXPECT_THAT(running.var, IsNan());
}

TEST(DegenerateTest, Case04OneValueWithDdof1CountsOnceByUnitCorrection) {
  const OneChannel one(Dtype::kF32, {3}, kUnit);
  EXPECT_EQ(one.Update({1, 8, 0}, 0.25, 1).var, 6);
  // With more values the correction is the ordinary one.
  const OneChannel two(Dtype::kF32, {3, 5}, kUnit);
  EXPECT_EQ(two.Update({0, 0, 0}, 1.0, 1).var, 2);
}

TEST(DegenerateTest, Case05OneValueInInferenceIsFine) {
  const OneChannel one(Dtype::kF32, {3});
  const Statistics running =
      FromRunning(std::vector{1.0}, std::vector{4.0}, 0, kIeee);
  EXPECT_THAT(one.Y(running, 10, 1), ElementsAre(11));
}

TEST(DegenerateTest, Case06OneImageWithSeveralPixelsIsFine) {
  const ChannelLayout layout(std::vector<std::int64_t>{1, 1, 2, 2},
                             std::vector{1});
  const TestTensor x(Dtype::kF32, std::vector<double>{1, 3, 3, 1});
  const ForwardSums sums = SumsOf(layout, x);
  EXPECT_FALSE(FindDegeneracy(sums, 0, 1).has_value());
  EXPECT_THAT(Normalize(layout, x, FinishForward(sums, 0, kIeee)).values(),
              ElementsAre(-1, 1, 1, -1));
}

TEST(DegenerateTest, Case07AnEmptyBatchTouchesNothing) {
  const OneChannel empty(Dtype::kF32, {});
  EXPECT_FALSE(FindDegeneracy(empty.sums(), 0, 1).has_value());
  EXPECT_THAT(empty.Train(1e-5).mean, Each(IsNan()));
  EXPECT_THAT(empty.Train(1e-5).var, Each(IsNan()));
  EXPECT_THAT(empty.Y(1e-5), ElementsAre());
  EXPECT_THAT(empty.Backward({}, 1e-5).dgamma, ElementsAre(0));
  EXPECT_THAT(empty.Backward({}, 1e-5).dbeta, ElementsAre(0));
  EXPECT_THAT(empty.Dx({}, 1e-5), ElementsAre());
  const OneChannel::Running before = {0.5, 2, 7};
  EXPECT_EQ(empty.Update(before, 0.1, 1), before);
  EXPECT_EQ(empty.Update(before, std::nullopt, 1), before);
}

TEST(DegenerateTest, Case08NoChannelsGiveEmptyResults) {
  const ChannelLayout layout(std::vector<std::int64_t>{5, 0}, std::vector{1});
  const TestTensor x(Dtype::kF32, 0);
  const ForwardSums sums = SumsOf(layout, x);
  const Statistics s = FinishForward(sums, 1e-5, kIeee);
  EXPECT_TRUE(s.mean.empty());
  EXPECT_TRUE(
      FinishBackward(sums, SumsOf(layout, x, x), 1e-5, kIeee).dgamma.empty());
  EXPECT_TRUE(Normalize(layout, x, s).values().empty());
  EXPECT_FALSE(FindDegeneracy(sums, 0, 1).has_value());
}

// Case 41: running statistics without entries are fine for no channels.
TEST(DegenerateTest, Case41EmptyRunningStatisticsOfNoChannelsStayEmpty) {
  std::int64_t batches = 3;
  UpdateRunning(ForwardSums(0, Dtype::kF32), {0.1, 1}, kIeee, {}, {}, batches);
  EXPECT_EQ(batches, 3);
  EXPECT_TRUE(FromRunning({}, {}, 1e-5, kIeee).mean.empty());
}

TEST(DegenerateTest, Case09AConstantChannelGivesBetaExactly) {
  for (const Dtype dtype : kDtypes) {
    for (const double constant : {100.0, 1e10, 0.1, -3e-8, 0.0}) {
      if (dtype == Dtype::kF16 && constant > 65504) continue;
      for (const double eps : {1e-5, 1e-300}) {
        const OneChannel channel(dtype, std::vector<double>(37, constant));
        EXPECT_THAT(channel.Y(eps, 3, 0.625), Each(0.625)) << constant;
        EXPECT_THAT(channel.Train(eps).var, ElementsAre(0));
      }
    }
  }
}

TEST(DegenerateTest, Case10EqualValuesWithoutEpsAreFound) {
  const OneChannel constant(Dtype::kF32, {7, 7, 7});
  EXPECT_EQ(FindDegeneracy(constant.sums(), 0, 1),
            (Degeneracy{Kind::kZeroVariance, 0}));
  EXPECT_FALSE(FindDegeneracy(constant.sums(), 1e-300, 1).has_value());
}

TEST(DegenerateTest, Case10TheFirstDegenerateChannelIsNamed) {
  const ChannelLayout layout(std::vector<std::int64_t>{2, 4}, std::vector{1});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const TestTensor x(Dtype::kF32, std::vector{1.0, nan, 5.0, 5.0,  //
                                              2.0, nan, 5.0, 5.0});
  EXPECT_EQ(FindDegeneracy(SumsOf(layout, x), 0, 1),
            (Degeneracy{Kind::kZeroVariance, 2}));
}

TEST(DegenerateTest, Case10EqualValuesWithoutEpsAreNanByIeee) {
  const OneChannel constant(Dtype::kF32, {7, 7, 7});
  EXPECT_EQ(constant.Train(0).inv_std[0], kInfinity);
  EXPECT_THAT(constant.Y(0), Each(IsNan()));
  EXPECT_THAT(constant.Backward({1, 2, 3}, 0).dgamma, Each(IsNan()));
  EXPECT_THAT(constant.Backward({1, 2, 3}, 0).dbeta, Each(6));
  EXPECT_THAT(constant.Dx({1, 2, 3}, 0), Each(IsNan()));
}

TEST(DegenerateTest, Case10EqualValuesWithoutEpsHaveNoXHatByUnitCorrection) {
  const OneChannel constant(Dtype::kF32, {7, 7, 7}, kUnit);
  EXPECT_EQ(constant.Train(0).inv_std[0], 0);
  EXPECT_THAT(constant.Y(0, 2, 0.5), Each(0.5));
  EXPECT_THAT(constant.Backward({1, 2, 3}, 0).dgamma, Each(0));
  EXPECT_THAT(constant.Dx({1, 2, 3}, 0), Each(0));
}

TEST(DegenerateTest, Case11ZeroRunningVarWithoutEpsDividesByZero) {
  const OneChannel channel(Dtype::kF64, {1, 2, 3});
  const Statistics ieee =
      FromRunning(std::vector{2.0}, std::vector{0.0}, 0, kIeee);
  EXPECT_THAT(channel.Y(ieee, 1, 0),
              ElementsAre(-kInfinity, IsNan(), kInfinity));
  const Statistics unit =
      FromRunning(std::vector{2.0}, std::vector{0.0}, 0, kUnit);
  EXPECT_THAT(channel.Y(unit, 1, 0.5), Each(0.5));
}

TEST(DegenerateTest, Case11InferenceGradientsFollow) {
  const OneChannel channel(Dtype::kF64, {1, 2, 4});
  const BackwardSums sums =
      SumsOf(channel.layout(), channel.x(), channel.Dy({1, 1, 1}));
  const std::vector<double> mean = {2};
  const std::vector<double> var = {0};
  EXPECT_THAT(
      FinishInferenceBackward(sums, FromRunning(mean, var, 0, kIeee), 0, kIeee)
          .dgamma,
      ElementsAre(kInfinity));
  EXPECT_THAT(
      FinishInferenceBackward(sums, FromRunning(mean, var, 0, kUnit), 0, kUnit)
          .dgamma,
      ElementsAre(0));
}

TEST(DegenerateTest, Case12NegativeRunningVarIsNanOnlyBelowMinusEps) {
  const std::vector<double> mean = {0};
  EXPECT_THAT(FromRunning(mean, std::vector{-2e-5}, 1e-5, kUnit).inv_std[0],
              IsNan());
  EXPECT_GT(FromRunning(mean, std::vector{-0.5e-5}, 1e-5, kUnit).inv_std[0], 0);
}

TEST(DegenerateTest, Case14NoEpsIsLegalWhereValuesDiffer) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  EXPECT_FALSE(FindDegeneracy(channel.sums(), 0, 1).has_value());
  EXPECT_THAT(channel.Y(0), ElementsAre(-1, 1));
}

}  // namespace
}  // namespace batchnorm::kernel
