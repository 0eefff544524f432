// The caller's floating-point environment neither changes results nor is it
// changed.
#include <gtest/gtest.h>

#include <cfenv>
#include <functional>
#include <random>
#include <string>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "server/kernel/batch_norm.h"
#include "server/kernel/sum_limbs.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

struct Outcome {
  std::string bytes;
  std::string of_limbs;
  Statistics statistics;
  Gradients gradients;
  Statistics running;
  std::vector<double> mean;
  std::vector<double> var;
  TestTensor y;
  TestTensor dx;
};

struct Input {
  ChannelLayout layout;
  TestTensor x;
  TestTensor dy;
};

Input HardInput(Dtype dtype) {
  Random random(25);
  const auto channels = HardChannels(dtype, 40, random);
  return {ChannelLayout(std::vector<std::int64_t>{40, static_cast<std::int64_t>(
                                                          channels.size())},
                        std::vector{1}),
          TestTensor(dtype, XColumns(channels)),
          TestTensor(dtype, DyColumns(channels))};
}

// Both sums, out of limbs made of them.
std::string BytesOfLimbs(const ForwardSums& sums,
                         const BackwardSums& backward) {
  const SumLimbs sum = LimbsOfSum(sums);
  const SumLimbs squares = LimbsOfSquares(sums);
  const SumLimbs sum_dy = LimbsOfSumDy(backward);
  const SumLimbs sum_dy_x = LimbsOfSumDyX(backward);
  const auto taken = ForwardSumsOfLimbs(sums.channels(), sums.count(0),
                                        sum.view(), squares.view());
  const auto taken_backward =
      BackwardSumsOfLimbs(sums.channels(), sum_dy.view(), sum_dy_x.view());
  if (!taken.has_value() || !taken_backward.has_value()) return "refused";
  return taken->Serialize() + taken_backward->Serialize();
}

// Limbs of ordinary sums, whose blocks of channels are taken at once.
Input ManyChannels(Dtype dtype) {
  constexpr std::int64_t kChannels = 256;
  Random random(26);
  std::normal_distribution<double> normal(0.5, 2);
  std::vector<double> x(2 * kChannels);
  for (double& value : x) value = normal(random);
  return {
      ChannelLayout(std::vector<std::int64_t>{2, kChannels}, std::vector{1}),
      TestTensor(dtype, x), TestTensor(dtype, x)};
}

Outcome ComputeAll(const Input& input) {
  const ForwardSums sums = SumsOf(input.layout, input.x);
  const BackwardSums backward = SumsOf(input.layout, input.x, input.dy);
  Statistics s = FinishForward(sums, 1e-300, Degenerate::kIeee);
  Gradients g = FinishBackward(sums, backward, 1e-300, Degenerate::kIeee);
  std::vector<double> mean(s.mean.size(), 1e-310);
  std::vector<double> var(s.mean.size(), 1e-310);
  std::int64_t batches = 6;
  UpdateRunning(sums, {std::nullopt, 1}, Degenerate::kIeee, mean, var, batches);
  Statistics running = FromRunning(mean, var, 0, Degenerate::kIeee);
  TestTensor y = Normalize(input.layout, input.x, s);
  TestTensor dx = Differentiate(input.layout, input.x, input.dy, s, g);
  return {sums.Serialize() + backward.Serialize(),
          BytesOfLimbs(sums, backward),
          s,
          g,
          running,
          mean,
          var,
          y,
          dx};
}

void ExpectSame(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.of_limbs, b.of_limbs);
  EXPECT_TRUE(SameBits(a.statistics, b.statistics));
  EXPECT_TRUE(SameBits(a.gradients, b.gradients));
  EXPECT_TRUE(SameBits(a.running, b.running));
  EXPECT_TRUE(SameBits(a.mean, b.mean));
  EXPECT_TRUE(SameBits(a.var, b.var));
  EXPECT_EQ(a.y, b.y);
  EXPECT_EQ(a.dx, b.dx);
}

class FloatingPointEnvironmentTest : public testing::TestWithParam<Dtype> {
 protected:
  void SetUp() override { std::fegetenv(&original_); }
  void TearDown() override { std::fesetenv(&original_); }

 private:
  std::fenv_t original_;
};

TEST_P(FloatingPointEnvironmentTest, OtherRoundingModesChangeNothing) {
  for (const Input& input : {HardInput(GetParam()), ManyChannels(GetParam())}) {
    const Outcome expected = ComputeAll(input);
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      std::fesetround(mode);
      const Outcome actual = ComputeAll(input);
      EXPECT_EQ(std::fegetround(), mode);
      std::fesetround(FE_TONEAREST);
      ExpectSame(actual, expected);
    }
  }
}

#if defined(__SSE2__)
TEST_P(FloatingPointEnvironmentTest, FlushToZeroChangesNothing) {
  constexpr unsigned kFlushToZero = 0x8000;
  constexpr unsigned kDenormalsAreZero = 0x0040;
  const Input input = HardInput(GetParam());
  const Outcome expected = ComputeAll(input);
  const unsigned flushing = _mm_getcsr() | kFlushToZero | kDenormalsAreZero;
  _mm_setcsr(flushing);
  const Outcome actual = ComputeAll(input);
  EXPECT_EQ(_mm_getcsr(), flushing);
  _mm_setcsr(flushing & ~(kFlushToZero | kDenormalsAreZero));
  ExpectSame(actual, expected);
}
#endif

TEST_P(FloatingPointEnvironmentTest, ExceptionFlagsAreThoseOfTheCaller) {
  const Input input = HardInput(GetParam());
  std::feclearexcept(FE_ALL_EXCEPT);
  std::feraiseexcept(FE_DIVBYZERO);
  FinishForward(SumsOf(input.layout, input.x), 0, Degenerate::kIeee);
  EXPECT_EQ(std::fetestexcept(FE_ALL_EXCEPT), FE_DIVBYZERO);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FloatingPointEnvironmentTest,
                         testing::ValuesIn(kDtypes), [](const auto& instance) {
                           return NameOf(instance.param);
                         });

}  // namespace
}  // namespace batchnorm::kernel
