// Values at the ends of their formats, large offsets and large counts:
// README.md, "Edge cases", 16-22 and 45-48.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/unit/kernel/one_channel.h"

namespace batchnorm::kernel {
namespace {

using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> Normal(double mean, double sd, std::size_t n) {
  std::mt19937_64 random(27);
  std::normal_distribution<double> normal(mean, sd);
  std::vector<double> values(n);
  for (double& value : values) value = normal(random);
  return values;
}

double MeanSquare(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return sum / static_cast<double>(values.size());
}

TEST(RangeTest, Case17BFloat16OfMean5AndSd01IsNormalized) {
  const OneChannel channel(Dtype::kBF16, Normal(5, 0.1, 1000));
  EXPECT_NEAR(MeanSquare(channel.Y(0)), 1, 0.01);
}

TEST(RangeTest, Case18F32At1e30IsNormalized) {
  const OneChannel channel(Dtype::kF32, {1e30, -1e30, 1e30, -1e30});
  EXPECT_THAT(channel.Y(1e-5), ElementsAre(1, -1, 1, -1));
  EXPECT_NEAR(channel.Train(1e-5).var[0], 1e60, 1e54);
}

TEST(RangeTest, Case19F32At1eMinus40WithoutEpsIsNormalized) {
  const OneChannel channel(Dtype::kF32, {1e-40, -1e-40, 1e-40, -1e-40});
  EXPECT_THAT(channel.Y(0), ElementsAre(1, -1, 1, -1));
}

TEST(RangeTest, Case20F64At1e200IsNormalizedThoughItsVarianceOverflows) {
  const OneChannel channel(Dtype::kF64, {1e200, -1e200});
  EXPECT_EQ(channel.Train(0).var[0], kInfinity);
  EXPECT_THAT(channel.Y(0), ElementsAre(1, -1));
  // dy = (1, 0): dx = inv_std * (dy - 1/2 - x_hat * 1/2) = 0.
  EXPECT_THAT(channel.Dx({1, 0}, 0), Each(DoubleNear(0, 1e-215)));
}

TEST(RangeTest, Case20F64At1eMinus310IsNormalized) {
  const OneChannel channel(Dtype::kF64, {1e-310, -1e-310});
  EXPECT_EQ(channel.Train(0).inv_std[0], kInfinity);
  EXPECT_THAT(channel.Y(0), ElementsAre(1, -1));
}

// What scaling by 2^600 must not change: x_hat, and dx but for its scale.
TEST(RangeTest, Case20ScalingXByPowersOfTwoScalesOnlyDx) {
  const std::vector<double> x = Normal(3, 1, 50);
  const std::vector<double> dy = Normal(0, 1, 50);
  const OneChannel plain(Dtype::kF64, x);
  const auto y = plain.Y(0);
  const auto dx = plain.Dx(dy, 0);
  for (const int shift : {600, 1000, -600, -950}) {
    std::vector<double> scaled_x = x;
    for (double& value : scaled_x) value = std::ldexp(value, shift);
    const OneChannel scaled(Dtype::kF64, scaled_x);
    EXPECT_EQ(scaled.Y(0), y) << shift;
    EXPECT_EQ(scaled.Backward(dy, 0).dgamma, plain.Backward(dy, 0).dgamma);
    const auto scaled_dx = scaled.Dx(dy, 0);
    for (std::size_t i = 0; i < dx.size(); ++i) {
      EXPECT_NEAR(std::ldexp(scaled_dx[i], shift), dx[i],
                  1e-15 * std::abs(dx[i]) + std::ldexp(1, shift - 1074));
    }
  }
}

// The mean of these is no double: mean_lo carries it only because it is scaled.
TEST(RangeTest, Case20TheTwoSmallestDoublesAreToldApart) {
  const double least = std::numeric_limits<double>::denorm_min();
  const OneChannel channel(Dtype::kF64, {least, 2 * least});
  EXPECT_THAT(channel.Y(0), ElementsAre(-1, 1));
}

TEST(RangeTest, Case20TheLargestDoublesAreSubtractedWithoutOverflow) {
  const double largest = std::numeric_limits<double>::max();
  const OneChannel channel(Dtype::kF64, {largest, -largest});
  EXPECT_THAT(channel.Y(0), ElementsAre(1, -1));
}

TEST(RangeTest, Case21F16SumsAbove65504DoNotOverflow) {
  const OneChannel channel(Dtype::kF16, std::vector<double>(1000, 60000.0));
  EXPECT_EQ(channel.Train(1e-5).mean[0], 60000);
  EXPECT_THAT(channel.Y(1e-5, 1, 2), Each(2));
}

TEST(RangeTest, Case22RunningVarOfF16KeepsMoreThan65504) {
  const OneChannel channel(Dtype::kF16, {60000, -60000});
  EXPECT_EQ(channel.Update({0, 0, 0}, 1.0, 0).var, 3.6e9);
}

// Case 45: counts beyond 2^31, by merging a sum with itself.
TEST(RangeTest, Case45MoreThanTwoToThe31ValuesAreCounted) {
  ForwardSums sums = OneChannel(Dtype::kF32, {1, 2, 4}).sums();
  for (int i = 0; i < 40; ++i) sums.Merge(ForwardSums(sums));
  const Statistics s = FinishForward(sums, 0, Degenerate::kIeee);
  const Statistics small = OneChannel(Dtype::kF32, {1, 2, 4}).Train(0);
  EXPECT_EQ(s.count, std::int64_t{3} << 40);
  EXPECT_EQ(s.mean, small.mean);
  EXPECT_EQ(s.var, small.var);
  EXPECT_EQ(s.inv_std, small.inv_std);
}

TEST(RangeTest, Case46GammaZeroGivesBetaAndStillItsOwnGradient) {
  const OneChannel channel(Dtype::kF32, {1, 2, 4});
  EXPECT_THAT(channel.Y(1e-5, 0, 0.25), Each(0.25));
  EXPECT_THAT(channel.Dx({1, 0, 0}, 1e-5, 0), Each(0));
  EXPECT_NE(channel.Backward({1, 0, 0}, 1e-5).dgamma[0], 0);
}

TEST(RangeTest, Case47NegativeAndHugeGammaAreOrdinary) {
  const OneChannel channel(Dtype::kF64, {1, -1});
  EXPECT_THAT(channel.Y(0, -3, 0), ElementsAre(-3, 3));
  EXPECT_THAT(channel.Y(0, 1e300, 0), ElementsAre(1e300, -1e300));
  const OneChannel far(Dtype::kF64, {0x1p500, -0x1p500});
  EXPECT_THAT(far.Y(0, 1e300, 0), ElementsAre(1e300, -1e300));
  EXPECT_THAT(far.Y(0, 1e-300, 0), ElementsAre(1e-300, -1e-300));
}

TEST(RangeTest, Case48ConstantDyHasNoDx) {
  const OneChannel channel(Dtype::kF64, Normal(1e6, 1, 100));
  for (const double constant : {1.0, 0.1, -1e200}) {
    const std::vector<double> dy(100, constant);
    EXPECT_THAT(channel.Dx(dy, 1e-5), Each(0));
    EXPECT_THAT(channel.Backward(dy, 1e-5).dgamma, Each(0));
  }
}

}  // namespace
}  // namespace batchnorm::kernel
