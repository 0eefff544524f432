// NaN and infinities stay in their channel: README.md, "Edge cases", 23-25.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/unit/kernel/one_channel.h"

namespace batchnorm::kernel {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsNan;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Columns 0 and 2 of a 3 x 3 batch, with `bad` in the middle of column 1.
TestTensor BatchWith(Dtype dtype, double bad) {
  return TestTensor(dtype, std::vector<double>{1, 2, 4,    //
                                               3, bad, 5,  //
                                               6, 0, 9});
}

const ChannelLayout& ThreeChannels() {
  static const ChannelLayout layout(std::vector<std::int64_t>{3, 3},
                                    std::vector{1});
  return layout;
}

struct Trained {
  Statistics statistics;
  std::vector<double> y;
};

Trained Train(const TestTensor& x) {
  Statistics s =
      FinishForward(SumsOf(ThreeChannels(), x), 1e-5, Degenerate::kIeee);
  std::vector<double> y = Normalize(ThreeChannels(), x, s).values();
  return {std::move(s), std::move(y)};
}

void ExpectOnlyColumnOneIsNan(const std::vector<double>& actual,
                              const std::vector<double>& without) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (i % 3 == 1) {
      EXPECT_THAT(actual[i], IsNan());
    } else {
      EXPECT_EQ(actual[i], without[i]);
    }
  }
}

TEST(NonFiniteTest, Case23NanInXMakesItsChannelNanAlone) {
  for (const Dtype dtype : kDtypes) {
    const Trained expected = Train(BatchWith(dtype, 1));
    const Trained actual = Train(BatchWith(dtype, kNan));
    ExpectOnlyColumnOneIsNan(actual.y, expected.y);
    EXPECT_THAT(actual.statistics.mean[1], IsNan());
    EXPECT_THAT(actual.statistics.var[1], IsNan());
    EXPECT_THAT(actual.statistics.inv_std[1], IsNan());
    EXPECT_EQ(actual.statistics.var[2], expected.statistics.var[2]);
  }
}

TEST(NonFiniteTest, Case24InfinityInXGivesAnInfiniteMeanAndNanElsewhere) {
  for (const Dtype dtype : kDtypes) {
    for (const double infinity : {kInfinity, -kInfinity}) {
      const Trained expected = Train(BatchWith(dtype, 1));
      const Trained actual = Train(BatchWith(dtype, infinity));
      ExpectOnlyColumnOneIsNan(actual.y, expected.y);
      EXPECT_EQ(actual.statistics.mean[1], infinity);
      EXPECT_THAT(actual.statistics.var[1], IsNan());
      EXPECT_THAT(actual.statistics.inv_std[1], IsNan());
    }
  }
}

TEST(NonFiniteTest, Case24OppositeInfinitiesGiveANanMean) {
  const OneChannel channel(Dtype::kF32, {kInfinity, 1, -kInfinity});
  EXPECT_THAT(channel.Train(1e-5).mean[0], IsNan());
}

TEST(NonFiniteTest, Case25NanOrInfinityInDyMakesItsChannelsGradientsNan) {
  const TestTensor x = BatchWith(Dtype::kF32, 1);
  const ForwardSums sums = SumsOf(ThreeChannels(), x);
  const Statistics s = FinishForward(sums, 1e-5, Degenerate::kIeee);
  const auto backward = [&](const TestTensor& dy) {
    return FinishBackward(sums, SumsOf(ThreeChannels(), x, dy), 1e-5,
                          Degenerate::kIeee);
  };
  const TestTensor good = BatchWith(Dtype::kF32, 2);
  const Gradients expected = backward(good);
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    const TestTensor dy = BatchWith(Dtype::kF32, bad);
    const Gradients actual = backward(dy);
    ExpectOnlyColumnOneIsNan(
        Differentiate(ThreeChannels(), x, dy, s, actual).values(),
        Differentiate(ThreeChannels(), x, good, s, expected).values());
    ExpectOnlyColumnOneIsNan(actual.dgamma, expected.dgamma);
    EXPECT_EQ(actual.dbeta[0], expected.dbeta[0]);
    if (std::isnan(bad)) {
      EXPECT_THAT(actual.dbeta[1], IsNan());
    } else {
      EXPECT_EQ(actual.dbeta[1], bad);
    }
  }
}

TEST(NonFiniteTest, NonFiniteXStillHasItsSumOfDy) {
  const OneChannel channel(Dtype::kF32, {1, kNan, 2});
  const Gradients g = channel.Backward({1, 2, 4}, 1e-5);
  EXPECT_EQ(g.dbeta[0], 7);
  EXPECT_THAT(g.dgamma[0], IsNan());
  EXPECT_THAT(channel.Dx({1, 2, 4}, 1e-5), Each(IsNan()));
}

TEST(NonFiniteTest, InferencePropagatesElementByElement) {
  const OneChannel channel(Dtype::kF32, {1, kNan, kInfinity, 3});
  const Statistics s =
      FromRunning(std::vector{1.0}, std::vector{4.0}, 0, Degenerate::kIeee);
  EXPECT_THAT(channel.Y(s, 1, 0), ElementsAre(0, IsNan(), kInfinity, 1));
}

// dx of inference is gamma * inv_std * dy: x has no part in it.
TEST(NonFiniteTest, InferenceDxDependsOnDyAlone) {
  const OneChannel channel(Dtype::kF32, {1, kNan, kInfinity, 3});
  const Statistics s =
      FromRunning(std::vector{1.0}, std::vector{4.0}, 0, Degenerate::kIeee);
  const TestTensor dy = channel.Dy({2, 4, 6, kInfinity});
  const BackwardSums sums = SumsOf(channel.layout(), channel.x(), dy);
  const Gradients g = FinishInferenceBackward(sums, s, 0, Degenerate::kIeee);
  EXPECT_THAT(Differentiate(channel.layout(), channel.x(), dy, s, g).values(),
              ElementsAre(1, 2, 3, kInfinity));
  EXPECT_THAT(g.dgamma[0], IsNan());
}

TEST(NonFiniteTest, RunningStatisticsTakeNanAndInfinityByIeee) {
  const OneChannel nan(Dtype::kF32, {1, kNan});
  EXPECT_THAT(nan.Update({0, 1, 0}, 0.1, 1).mean, IsNan());
  EXPECT_THAT(nan.Update({0, 1, 0}, 0.1, 1).var, IsNan());
  const OneChannel infinite(Dtype::kF32, {1, kInfinity});
  EXPECT_EQ(infinite.Update({0, 1, 0}, 0.1, 1).mean, kInfinity);
  EXPECT_THAT(infinite.Update({0, 1, 0}, 0.1, 1).var, IsNan());
}

TEST(NonFiniteTest, InfiniteRunningStatisticsStayInfinite) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  const auto after = channel.Update({-kInfinity, kInfinity, 0}, 0.1, 1);
  EXPECT_EQ(after.mean, -kInfinity);
  EXPECT_EQ(after.var, kInfinity);
  EXPECT_THAT(channel.Update({kInfinity, 1, 0}, 1.0, 1).mean, IsNan());
  // The first of a cumulative average has weight 1, the second 1/2.
  EXPECT_THAT(channel.Update({kInfinity, 1, 0}, std::nullopt, 1).mean, IsNan());
  EXPECT_EQ(channel.Update({kInfinity, 1, 1}, std::nullopt, 1).mean, kInfinity);
}

TEST(NonFiniteTest, InfiniteRunningVarNormalizesToBeta) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  const Statistics s = FromRunning(std::vector{1.0}, std::vector{kInfinity},
                                   1e-5, Degenerate::kIeee);
  EXPECT_THAT(channel.Y(s, 2, 0.5), Each(0.5));
}

TEST(NonFiniteTest, EveryNanIsWrittenAsOnePattern) {
  const double negative_nan = std::bit_cast<double>(0xfff8000000000123u);
  const OneChannel channel(Dtype::kF64, {1, negative_nan});
  for (const double y : channel.Y(1e-5)) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(y), 0x7ff8000000000000u);
  }
  const auto updated = channel.Update({negative_nan, 1, 0}, 0.1, 1);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(updated.mean), 0x7ff8000000000000u);
  const Statistics s =
      FromRunning(std::vector{negative_nan}, std::vector{negative_nan}, 1e-5,
                  Degenerate::kIeee);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(s.mean[0]), 0x7ff8000000000000u);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(s.var[0]), 0x7ff8000000000000u);
}

TEST(NonFiniteTest, TheFirstNonFiniteElementIsFound) {
  for (const Dtype dtype : kDtypes) {
    std::vector<double> values(5000, 1.0);
    EXPECT_EQ(FindNonFinite(TestTensor(dtype, values).view()), std::nullopt);
    values[4321] = kNan;
    EXPECT_EQ(FindNonFinite(TestTensor(dtype, values).view()), 4321);
    values[1024] = -kInfinity;
    EXPECT_EQ(FindNonFinite(TestTensor(dtype, values).view()), 1024);
    values[0] = kInfinity;
    EXPECT_EQ(FindNonFinite(TestTensor(dtype, values).view()), 0);
  }
  EXPECT_EQ(FindNonFinite(TestTensor(Dtype::kF32, 0).view()), std::nullopt);
}

}  // namespace
}  // namespace batchnorm::kernel
