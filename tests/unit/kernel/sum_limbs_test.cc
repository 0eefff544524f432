// Exact sums as rows of doubles, there and back, and rounded sums of others.
#include "server/kernel/sum_limbs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

using Scales = std::vector<std::int32_t>;
using Numbers = std::vector<double>;

std::optional<ForwardSums> OneChannel(std::int64_t count, const Numbers& sum,
                                      const Numbers& squares,
                                      const Scales& sum_scales,
                                      const Scales& squares_scales) {
  return ForwardSumsOfLimbs(1, count, {sum, sum_scales},
                            {squares, squares_scales});
}

std::optional<ForwardSums> OneChannel(std::int64_t count, const Numbers& sum,
                                      const Numbers& squares) {
  return OneChannel(count, sum, squares, Scales(sum.size()),
                    Scales(squares.size()));
}

// By way of limbs.
std::optional<ForwardSums> ThereAndBack(const ForwardSums& sums) {
  EXPECT_LE(LimbsOfSum(sums).scales.size(), kMaxLimbs);
  EXPECT_LE(LimbsOfSquares(sums).scales.size(), kMaxLimbs);
  return ForwardSumsOfLimbs(sums.channels(), sums.count(0),
                            LimbsOfSum(sums).view(),
                            LimbsOfSquares(sums).view());
}

std::optional<BackwardSums> ThereAndBack(const BackwardSums& sums) {
  EXPECT_LE(LimbsOfSumDy(sums).scales.size(), kMaxLimbs);
  EXPECT_LE(LimbsOfSumDyX(sums).scales.size(), kMaxLimbs);
  return BackwardSumsOfLimbs(sums.channels(), LimbsOfSumDy(sums).view(),
                             LimbsOfSumDyX(sums).view());
}

// Hard channels as the columns of an N x C batch.
struct HardBatch {
  HardBatch(Dtype dtype, std::size_t n, Random& random)
      : channels(HardChannels(dtype, n, random)),
        width(static_cast<std::int64_t>(channels.size())),
        x(dtype, XColumns(channels)),
        dy(dtype, DyColumns(channels)) {}

  ChannelLayout Layout(std::int64_t rows) const {
    return ChannelLayout(std::vector<std::int64_t>{rows, width},
                         std::vector{1});
  }

  std::vector<HardChannel> channels;
  std::int64_t width;
  TestTensor x;
  TestTensor dy;
};

class HardLimbsTest : public ::testing::TestWithParam<Dtype> {};

TEST_P(HardLimbsTest, SumsComeBackToTheBit) {
  Random random(7);
  for (const std::int64_t n : {1, 3, 64, 1000}) {
    const HardBatch batch(GetParam(), static_cast<std::size_t>(n), random);
    const ForwardSums forward = SumsOf(batch.Layout(n), batch.x);
    const auto forward_back = ThereAndBack(forward);
    ASSERT_TRUE(forward_back.has_value());
    EXPECT_EQ(forward_back->Serialize(), forward.Serialize());
    const BackwardSums backward = SumsOf(batch.Layout(n), batch.x, batch.dy);
    const auto backward_back = ThereAndBack(backward);
    ASSERT_TRUE(backward_back.has_value());
    EXPECT_EQ(backward_back->Serialize(), backward.Serialize());
  }
}

TEST_P(HardLimbsTest, MergingThemIsMergingTheSums) {
  constexpr std::int64_t kRows = 30;
  Random random(8);
  const HardBatch batch(GetParam(), kRows, random);
  const ForwardSums whole = SumsOf(batch.Layout(kRows), batch.x);
  for (const std::int64_t cut : {1, 10, 29}) {
    std::vector<ForwardSums> parts;
    for (const auto& [first, rows] :
         {std::pair{std::int64_t{0}, cut}, {cut, kRows - cut}}) {
      ForwardSums sums(batch.width, GetParam());
      sums.Add(batch.Layout(rows), 0,
               batch.x.Slice(first * batch.width, rows * batch.width));
      const auto taken = ThereAndBack(sums);
      ASSERT_TRUE(taken.has_value());
      parts.push_back(*taken);
    }
    parts[0].Merge(parts[1]);
    EXPECT_EQ(parts[0].Serialize(), whole.Serialize());
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HardLimbsTest, ::testing::ValuesIn(kDtypes),
                         [](const auto& each) { return NameOf(each.param); });

TEST(SumLimbsTest, OrdinaryF32SumsTakeAtMostFiveLimbsAChannel) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(0.5, 2);
  Numbers values(std::size_t{64} * 1000);
  for (double& value : values) value = normal(random);
  const ChannelLayout layout(std::vector<std::int64_t>{1000, 64},
                             std::vector{1});
  const ForwardSums sums = SumsOf(layout, TestTensor(Dtype::kF32, values));
  EXPECT_LE(LimbsOfSum(sums).scales.size() + LimbsOfSquares(sums).scales.size(),
            5u);
}

TEST(SumLimbsTest, LimbsMayOverlapDifferInSignAndComeInAnyOrder) {
  Numbers limbs = {1e16, 1, -1e16, 0x1p-60, 3};
  const auto expected = OneChannel(3, {4, 0x1p-60}, {100});
  ASSERT_TRUE(expected.has_value());
  std::sort(limbs.begin(), limbs.end());
  do {
    const auto sums = OneChannel(3, limbs, {100});
    ASSERT_TRUE(sums.has_value());
    EXPECT_EQ(sums->Serialize(), expected->Serialize());
  } while (std::next_permutation(limbs.begin(), limbs.end()));
}

// Limbs of many channels, most of like magnitudes, and some that are not.
Numbers RandomLimbs(std::size_t rows, std::size_t channels, double odd,
                    int range, std::mt19937_64& random) {
  std::normal_distribution<double> normal(0.5, 2);
  std::bernoulli_distribution is_odd(odd);
  std::uniform_int_distribution<int> exponent(-range, range);
  Numbers limbs(rows * channels);
  for (double& limb : limbs) {
    limb = static_cast<float>(normal(random));
    if (is_odd(random)) {
      limb = exponent(random) < -200 ? 0.0 : std::ldexp(limb, exponent(random));
    }
  }
  return limbs;
}

Dyadic Total(const LimbsView& rows, std::size_t channels, std::size_t channel) {
  Dyadic total;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    total = total + Dyadic::FromDouble(rows.limb(i * channels + channel)) *
                        Dyadic::PowerOfTwo(rows.scale(i));
  }
  return total;
}

// By the instructions of each target.
void ExpectTotals(std::size_t channels, const LimbsView& dy,
                  const LimbsView& dy_x) {
  std::vector<std::pair<Dyadic, Dyadic>> totals;
  totals.reserve(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    totals.emplace_back(Total(dy, channels, c), Total(dy_x, channels, c));
  }
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const ForcedTarget forced(target);
    const auto sums =
        BackwardSumsOfLimbs(static_cast<std::int64_t>(channels), dy, dy_x);
    ASSERT_TRUE(sums.has_value());
    for (std::size_t c = 0; c < channels; ++c) {
      const auto channel = static_cast<std::int64_t>(c);
      ASSERT_EQ(sums->sum_dy(channel).Value(), totals[c].first)
          << hwy::TargetName(target);
      ASSERT_EQ(sums->sum_dy_x(channel).Value(), totals[c].second)
          << hwy::TargetName(target);
    }
  }
}

TEST(SumLimbsTest, EachChannelIsTheTotalOfItsLimbsWhateverTheOthersAre) {
  std::mt19937_64 random(11);
  for (const std::size_t channels : {1, 2, 63, 64, 65, 200}) {
    for (const std::size_t rows : {1, 2, 3, 127}) {
      for (const double odd : {0.0, 0.005, 0.3}) {
        for (const int range : {40, 60, 300}) {
          const Numbers dy = RandomLimbs(rows, channels, odd, range, random);
          const Numbers dy_x =
              RandomLimbs(rows + 1, channels, odd, range, random);
          Scales scales(rows);
          if (odd > 0.1) scales.back() = -40;
          const Scales product_scales(rows + 1);
          ExpectTotals(channels, {dy, scales}, {dy_x, product_scales});
        }
      }
    }
  }
}

TEST(SumLimbsTest, ZeroIsZeroAtAnyScale) {
  for (const std::int32_t scale : {-1100, -1023, 1023, 1024, 1100}) {
    const Scales scales = {scale, 0};
    const Numbers zeros = {0, 0};
    const Numbers one = {0, 1};
    for (const Numbers& limbs : {zeros, one}) {
      const auto sums = BackwardSumsOfLimbs(1, {limbs, scales}, {one, scales});
      ASSERT_TRUE(sums.has_value());
      EXPECT_EQ(sums->sum_dy(0).ToDouble(), limbs[1]) << scale;
      EXPECT_EQ(sums->sum_dy_x(0).ToDouble(), 1) << scale;
    }
  }
}

TEST(SumLimbsTest, NoScaleMakesANumberOfNoNumber) {
  for (const std::int32_t scale : {-1100, -1000, -950, 0, 1100}) {
    const Numbers none = {kNan, 1};
    const Numbers one = {1};
    const Scales scales = {scale, 0};
    const Scales plain = {0};
    const auto forward = ForwardSumsOfLimbs(1, 2, {none, scales}, {one, plain});
    const auto backward = BackwardSumsOfLimbs(1, {one, plain}, {none, scales});
    ASSERT_TRUE(forward.has_value() && backward.has_value());
    EXPECT_FALSE(forward->totals(0).is_finite());
    EXPECT_FALSE(backward->totals(0).is_finite());
  }
}

void ExpectSame(const ExactSum& a, const ExactSum& b, std::size_t channel) {
  ASSERT_EQ(a.kind(), b.kind()) << channel;
  if (!a.is_finite()) return;
  EXPECT_EQ(a.Value(), b.Value()) << channel;
}

// The channels of a block are taken together, and each as if it were alone.
TEST(SumLimbsTest, AChannelWithoutNumbersLeavesItsNeighboursAlone) {
  constexpr std::size_t kChannels = 100;
  Numbers sum(kChannels, 3);
  Numbers squares(kChannels, 7);
  sum[10] = kNan;
  sum[20] = kInfinity;
  squares[20] = kInfinity;
  squares[30] = -1;
  sum[40] = squares[40] = 0;
  squares[70] = 3;  // exactly the least
  const Scales scales = {0};
  const auto sums =
      ForwardSumsOfLimbs(kChannels, 3, {sum, scales}, {squares, scales});
  ASSERT_TRUE(sums.has_value());
  for (std::size_t c = 0; c < kChannels; ++c) {
    const auto alone = OneChannel(3, {sum[c]}, {squares[c]});
    ASSERT_TRUE(alone.has_value());
    const auto channel = static_cast<std::int64_t>(c);
    ExpectSame(sums->sum(channel), alone->sum(0), c);
    ExpectSame(sums->sum_of_squares(channel), alone->sum_of_squares(0), c);
  }
  const Numbers plain(kChannels);
  Numbers one = plain;
  one[90] = 1;
  EXPECT_TRUE(ForwardSumsOfLimbs(kChannels, 0, {plain, scales}, {plain, scales})
                  .has_value());
  EXPECT_FALSE(ForwardSumsOfLimbs(kChannels, 0, {one, scales}, {plain, scales})
                   .has_value());
}

TEST(SumLimbsTest, RowsMayLieAtAnyAddress) {
  const Numbers numbers = {1.5, -2.25, 1e10};
  std::vector<std::byte> bytes(3 * sizeof(double) + 1);
  std::memcpy(bytes.data() + 1, numbers.data(), 3 * sizeof(double));
  const Scales scales = {0};
  const LimbsView there(std::span<const std::byte>(bytes).subspan(1), scales);
  const auto sums = BackwardSumsOfLimbs(3, there, there);
  ASSERT_TRUE(sums.has_value());
  for (std::int64_t c = 0; c < 3; ++c) {
    EXPECT_EQ(sums->sum_dy(c).ToDouble(), numbers[static_cast<std::size_t>(c)]);
  }
}

TEST(SumLimbsTest, AScaleIsAPowerOfTwo) {
  const auto scaled = OneChannel(2, {3}, {5}, {-4}, {-8});
  const auto plain = OneChannel(2, {3.0 / 16}, {5.0 / 256});
  ASSERT_TRUE(scaled.has_value() && plain.has_value());
  EXPECT_EQ(scaled->Serialize(), plain->Serialize());
}

// Rounded sums have n*Q < S*S here.
TEST(SumLimbsTest, RoundedSumsOfEqualNumbersHaveNoVariance) {
  const double sum = 0.1 + 0.1 + 0.1;
  const double squares = 3 * (0.1 * 0.1) * (1 - 1e-15);
  const auto sums = OneChannel(3, {sum}, {squares});
  ASSERT_TRUE(sums.has_value());
  const Statistics statistics = FinishForward(*sums, 1e-5, Degenerate::kIeee);
  EXPECT_GE(statistics.var[0], 0);
  EXPECT_LT(statistics.var[0], 1e-17);
  // Whoever stores them can read them back.
  EXPECT_TRUE(ForwardSums::Parse(sums->Serialize()).has_value());
}

// An integer that is small and negative is the difference of two large halves.
TEST(SumLimbsTest, TooFewSquaresOfASmallSumAreFound) {
  for (int sum = -300; sum <= 300; ++sum) {
    for (const int less : {1, 3, 8}) {
      const double squares = sum * sum - less;
      // In a block of its like, and beside another one.
      for (const double other : {1.0, 1e150}) {
        const auto taken =
            ForwardSumsOfLimbs(2, 1, {Numbers{double(sum), other}, Scales(1)},
                               {Numbers{squares, other * other}, Scales(1)});
        ASSERT_TRUE(taken.has_value());
        ASSERT_TRUE(ForwardSums::Parse(taken->Serialize()).has_value()) << sum;
        ASSERT_EQ(FinishForward(*taken, 1e-5, Degenerate::kIeee).var[0], 0);
      }
    }
  }
}

TEST(SumLimbsTest, ANegativeSumOfSquaresBecomesTheLeast) {
  for (const double sum : {0.0, 5e-324, 1e-200, 3.0, 1e300}) {
    const auto sums = OneChannel(3, {sum}, {-1.0});
    ASSERT_TRUE(sums.has_value());
    EXPECT_TRUE(ForwardSums::Parse(sums->Serialize()).has_value()) << sum;
    const Statistics statistics = FinishForward(*sums, 1e-5, Degenerate::kIeee);
    EXPECT_GE(statistics.var[0], 0) << sum;
  }
}

TEST(SumLimbsTest, NonFiniteSumsAreWhatNonFiniteNumbersHave) {
  for (const double sum : {1.0, kInfinity, -kInfinity, kNan}) {
    for (const double squares : {1.0, kInfinity, -kInfinity, kNan}) {
      const auto sums = OneChannel(3, {sum}, {squares});
      ASSERT_TRUE(sums.has_value());
      EXPECT_EQ(sums->totals(0).is_finite(), sum == 1 && squares == 1);
      EXPECT_TRUE(ForwardSums::Parse(sums->Serialize()).has_value())
          << sum << " " << squares;
    }
  }
  const auto infinite = OneChannel(3, {kInfinity}, {kInfinity});
  EXPECT_EQ(FinishForward(*infinite, 1e-5, Degenerate::kIeee).mean[0],
            kInfinity);
}

TEST(SumLimbsTest, NoValuesHaveNoSums) {
  EXPECT_TRUE(OneChannel(0, {0.0}, {0.0}).has_value());
  EXPECT_TRUE(OneChannel(0, {1, -1}, {0.0}).has_value());
  EXPECT_FALSE(OneChannel(0, {1}, {0.0}).has_value());
  EXPECT_FALSE(OneChannel(0, {0.0}, {1}).has_value());
  EXPECT_FALSE(OneChannel(0, {kNan}, {0.0}).has_value());
}

TEST(SumLimbsTest, WhatNoDoublesSumToIsRefused) {
  EXPECT_FALSE(OneChannel(2, {0x1p1000}, {1}, {1000}, {0}).has_value());
  EXPECT_FALSE(OneChannel(2, {0x1p-1074}, {1}, {-1}, {0}).has_value());
  EXPECT_FALSE(OneChannel(2, {1}, {0x1p1020}, {0}, {1100}).has_value());
  EXPECT_FALSE(OneChannel(2, {1}, {0x1p-1074}, {0}, {-1100}).has_value());
  const Numbers least = {0x1p-1074};
  const Scales fine = {0};
  const Scales finer = {-1};
  EXPECT_TRUE(BackwardSumsOfLimbs(1, {least, fine}, {least, fine}).has_value());
  EXPECT_FALSE(
      BackwardSumsOfLimbs(1, {least, finer}, {least, fine}).has_value());
}

}  // namespace
}  // namespace batchnorm::kernel
