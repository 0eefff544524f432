// Calls neither disturb each other nor their inputs: README.md, "Edge cases",
// 32, 49 and 52.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/unit/kernel/one_channel.h"

namespace batchnorm::kernel {
namespace {

std::vector<double> Normal(std::size_t n, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0.5, 2);
  std::vector<double> values(n);
  for (double& value : values) value = normal(random);
  return values;
}

constexpr std::size_t kSize = 3000;  // several blocks

TEST(RepetitionTest, Case49InferenceGradientsRepeat) {
  const OneChannel channel(Dtype::kF32, Normal(kSize, 28));
  const TestTensor dy = channel.Dy(Normal(kSize, 29));
  const Statistics s =
      FromRunning(std::vector{0.3}, std::vector{2.0}, 1e-5, Degenerate::kIeee);
  const auto compute = [&] {
    const BackwardSums sums = SumsOf(channel.layout(), channel.x(), dy);
    return FinishInferenceBackward(sums, s, 1e-5, Degenerate::kIeee);
  };
  const Gradients first = compute();
  const TestTensor first_dx =
      Differentiate(channel.layout(), channel.x(), dy, s, first);
  const Gradients second = compute();
  EXPECT_TRUE(SameBits(first, second));
  EXPECT_EQ(Differentiate(channel.layout(), channel.x(), dy, s, second),
            first_dx);
}

TEST(RepetitionTest, Case52YMayOverwriteX) {
  for (const Dtype dtype : kDtypes) {
    const OneChannel channel(dtype, Normal(kSize, 30));
    const Statistics s = channel.Train(1e-5);
    TestTensor in_place = channel.x();
    ApplyForward(channel.layout(), 0, in_place.view(), s, {}, {},
                 in_place.mutable_view());
    EXPECT_EQ(in_place, Normalize(channel.layout(), channel.x(), s));
  }
}

TEST(RepetitionTest, Case52DxMayOverwriteXOrDy) {
  for (const Dtype dtype : kDtypes) {
    const OneChannel channel(dtype, Normal(kSize, 31));
    const std::vector<double> dy_values = Normal(kSize, 32);
    const TestTensor dy = channel.Dy(dy_values);
    const Statistics s = channel.Train(1e-5);
    const Gradients g = channel.Backward(dy_values, 1e-5);
    const TestTensor expected =
        Differentiate(channel.layout(), channel.x(), dy, s, g);
    TestTensor over_x = channel.x();
    ApplyBackward(channel.layout(), 0, over_x.view(), dy.view(), s, g, {},
                  over_x.mutable_view());
    EXPECT_EQ(over_x, expected);
    TestTensor over_dy = dy;
    ApplyBackward(channel.layout(), 0, channel.x().view(), over_dy.view(), s, g,
                  {}, over_dy.mutable_view());
    EXPECT_EQ(over_dy, expected);
  }
}

TEST(RepetitionTest, AbsentGammaIsOneAndAbsentBetaIsZero) {
  const OneChannel channel(Dtype::kF32, Normal(kSize, 33));
  const Statistics s = channel.Train(1e-5);
  EXPECT_EQ(Normalize(channel.layout(), channel.x(), s).values(),
            channel.Y(s, 1, 0));
  const auto only_beta =
      Normalize(channel.layout(), channel.x(), s, {}, std::vector{0.25});
  EXPECT_EQ(only_beta.values(), channel.Y(s, 1, 0.25));
}

// Case 32: var = 1e-12 under eps = 1e-5 comes back as itself, not from inv_std.
TEST(RepetitionTest, Case32TinyVarianceIsNotRecoveredFromInvStd) {
  const OneChannel channel(Dtype::kF64, {1e-6, -1e-6});
  EXPECT_NEAR(channel.Train(1e-5).var[0], 1e-12, 1e-27);
}

TEST(RepetitionTest, DyMayHaveAnotherDtypeThanX) {
  const std::vector<double> x_values = RoundedTo(Dtype::kF16, Normal(50, 34));
  const std::vector<double> dy_values = RoundedTo(Dtype::kBF16, Normal(50, 35));
  const OneChannel narrow(Dtype::kF16, x_values);
  const OneChannel wide(Dtype::kF64, x_values);
  const Gradients expected = wide.Backward(dy_values, 1e-5);
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF32, Dtype::kF64}) {
    const TestTensor dy(dtype, dy_values);
    const BackwardSums sums = SumsOf(narrow.layout(), narrow.x(), dy);
    EXPECT_TRUE(
        SameBits(FinishBackward(narrow.sums(), sums, 1e-5, Degenerate::kIeee),
                 expected));
  }
}

}  // namespace
}  // namespace batchnorm::kernel
