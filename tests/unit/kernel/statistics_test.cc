// Everything a channel is finished to is the exact number, rounded once.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/channel_truth.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

using truth::BackwardTruth;
using truth::Exact;
using truth::ForwardTruth;
using truth::Nearest;
using truth::NearestSqrt;
using truth::PowerOfTwo;
using truth::Rational;

constexpr double kEpsilons[] = {1e-5, 0, 1e-3, 1e-300};

struct Case {
  HardChannel channel;
  Dtype dtype;
  double eps;

  std::string Name() const {
    return NameOf(dtype) + " " + channel.name + ", eps " + std::to_string(eps);
  }
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  Random random(14);
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t n : {2u, 7u, 256u}) {
      for (const HardChannel& channel : HardChannels(dtype, n, random)) {
        for (const double eps : kEpsilons) {
          cases.push_back({channel, dtype, eps});
        }
      }
    }
  }
  return cases;
}

ChannelLayout LayoutOf(const Case& c) {
  return ChannelLayout(
      std::vector{static_cast<std::int64_t>(c.channel.x.size())},
      std::vector<int>{});
}

ForwardSums SumsOfX(const Case& c) {
  return SumsOf(LayoutOf(c), TestTensor(c.dtype, c.channel.x));
}

BackwardSums SumsOfDy(const Case& c) {
  return SumsOf(LayoutOf(c), TestTensor(c.dtype, c.channel.x),
                TestTensor(c.dtype, c.channel.dy));
}

TEST(StatisticsTest, MeanAndItsRestAreCorrectlyRounded) {
  for (const Case& c : Cases()) {
    const ForwardTruth truth(c.channel.x, c.eps);
    const Statistics s = FinishForward(SumsOfX(c), c.eps, Degenerate::kIeee);
    ASSERT_EQ(s.mean[0], Nearest(truth.mean)) << c.Name();
    const Rational rest = truth.mean - Exact(s.mean[0]);
    ASSERT_EQ(s.mean_lo[0], Nearest(rest)) << c.Name();
    ASSERT_EQ(s.scaled_mean_lo[0], Nearest(rest * PowerOfTwo(s.scale[0])))
        << c.Name();
  }
}

TEST(StatisticsTest, VarianceIsCorrectlyRounded) {
  for (const Case& c : Cases()) {
    const ForwardTruth truth(c.channel.x, c.eps);
    const Statistics s = FinishForward(SumsOfX(c), c.eps, Degenerate::kIeee);
    ASSERT_EQ(s.var[0], Nearest(truth.var)) << c.Name();
  }
}

TEST(StatisticsTest, InverseStdIsCorrectlyRoundedAlsoScaled) {
  for (const Case& c : Cases()) {
    const ForwardTruth truth(c.channel.x, c.eps);
    if (truth.degenerate()) continue;
    const Statistics s = FinishForward(SumsOfX(c), c.eps, Degenerate::kIeee);
    const Rational square = 1 / truth.biased_var_plus_eps;
    ASSERT_EQ(s.inv_std[0], NearestSqrt(square)) << c.Name();
    ASSERT_EQ(s.scaled_inv_std[0],
              NearestSqrt(square * PowerOfTwo(-2 * s.scale[0])))
        << c.Name();
    ASSERT_TRUE(std::isnormal(s.scaled_inv_std[0])) << c.Name();
  }
}

TEST(StatisticsTest, GradientsAreCorrectlyRounded) {
  for (const Case& c : Cases()) {
    const ForwardTruth forward(c.channel.x, c.eps);
    if (forward.degenerate()) continue;
    const BackwardTruth truth(forward, c.channel.x, c.channel.dy);
    const ForwardSums sums = SumsOfX(c);
    const Statistics s = FinishForward(sums, c.eps, Degenerate::kIeee);
    const Gradients g =
        FinishBackward(sums, SumsOfDy(c), c.eps, Degenerate::kIeee);
    const double magnitude = NearestSqrt(truth.dgamma_square);
    ASSERT_EQ(g.dgamma[0], truth.dgamma_is_negative ? -magnitude : magnitude)
        << c.Name();
    ASSERT_EQ(g.dbeta[0], Nearest(truth.dbeta)) << c.Name();
    ASSERT_EQ(g.mean_dy[0], Nearest(truth.mean_dy)) << c.Name();
    ASSERT_EQ(g.mean_dy_lo[0], Nearest(truth.mean_dy - Exact(g.mean_dy[0])))
        << c.Name();
    ASSERT_EQ(g.k[0], Nearest(truth.k * PowerOfTwo(-s.scale[0]))) << c.Name();
  }
}

TEST(StatisticsTest, InferenceInverseStdIsCorrectlyRounded) {
  Random random(15);
  for (int i = 0; i < 3000; ++i) {
    const double var = std::ldexp(static_cast<double>(random() >> 11),
                                  static_cast<int>(random() % 2000) - 1100);
    const double eps = i % 3 ? 1e-5 : 0;
    if (!std::isfinite(var) || var + eps == 0) continue;
    const Statistics s =
        FromRunning(std::vector{1.5}, std::vector{var}, eps, Degenerate::kIeee);
    ASSERT_EQ(s.inv_std[0], NearestSqrt(1 / (Exact(var) + Exact(eps)))) << var;
    ASSERT_EQ(s.mean[0], 1.5);
    ASSERT_EQ(s.var[0], var);
    ASSERT_EQ(s.count, 0);
  }
}

TEST(StatisticsTest, InferenceGradientsAreCorrectlyRounded) {
  for (const Case& c : Cases()) {
    const double mean = c.channel.x.front() / 3;
    const double var = 0.7;
    const std::vector<double>& x = c.channel.x;
    const std::vector<double>& dy = c.channel.dy;
    const Rational projection =
        truth::SumOfProducts(dy, x) - Exact(mean) * truth::Sum(dy);
    const Rational square =
        projection * projection / (Exact(var) + Exact(c.eps));
    const Statistics s = FromRunning(std::vector{mean}, std::vector{var}, c.eps,
                                     Degenerate::kIeee);
    const Gradients g =
        FinishInferenceBackward(SumsOfDy(c), s, c.eps, Degenerate::kIeee);
    const double magnitude = NearestSqrt(square);
    ASSERT_EQ(g.dgamma[0], projection < 0 ? -magnitude : magnitude) << c.Name();
    ASSERT_EQ(g.dbeta[0], Nearest(truth::Sum(dy))) << c.Name();
    ASSERT_EQ(g.mean_dy[0], 0) << c.Name();
    ASSERT_EQ(g.k[0], 0) << c.Name();
  }
}

struct Running {
  double mean;
  double var;
};

void ExpectUpdated(const Case& c, const RunningUpdate& update,
                   const Rational& w, const Running& before,
                   std::int64_t batch_count) {
  const ForwardTruth truth(c.channel.x, c.eps);
  const Rational unbiased =
      truth.var * truth.n / (truth.n - Rational(update.running_ddof));
  std::vector<double> mean = {before.mean};
  std::vector<double> var = {before.var};
  const std::int64_t counted = batch_count + 1;
  UpdateRunning(SumsOfX(c), update, Degenerate::kIeee, mean, var, batch_count);
  ASSERT_EQ(batch_count, counted);
  ASSERT_EQ(mean[0], Nearest((1 - w) * Exact(before.mean) + w * truth.mean))
      << c.Name();
  ASSERT_EQ(var[0], Nearest((1 - w) * Exact(before.var) + w * unbiased))
      << c.Name();
}

TEST(StatisticsTest, RunningStatisticsAreCorrectlyRounded) {
  for (const Case& c : Cases()) {
    if (c.eps != 0) continue;
    for (const double w : {0.1, 0.0, 1.0, -1.2, 3.5, 1e-20}) {
      for (const int ddof : {0, 1}) {
        ExpectUpdated(c, {w, ddof}, Exact(w), {-c.channel.x[0], 0.9}, 41);
      }
    }
  }
}

TEST(StatisticsTest, CumulativeAveragesAreCorrectlyRounded) {
  for (const Case& c : Cases()) {
    if (c.eps != 0) continue;
    for (const long batches : {0L, 1L, 2L, 1L << 24, 1L << 60}) {
      const Rational w = Rational(1) / Rational(batches + 1);
      ExpectUpdated(c, {std::nullopt, 1}, w, {c.channel.x[1], 0.3}, batches);
    }
  }
}

// Complete cancellation of (1-w)*Rm and w*mean is found, not rounded.
TEST(StatisticsTest, RunningMeanThatCancelsIsExactlyZero) {
  const ChannelLayout layout(std::vector<std::int64_t>{2}, std::vector<int>{});
  const ForwardSums sums =
      SumsOf(layout, TestTensor(Dtype::kF64, std::vector{0.3, 0.3}));
  std::vector<double> mean = {-0.3};
  std::vector<double> var = {1};
  std::int64_t batches = 0;
  UpdateRunning(sums, {0.5, 1}, Degenerate::kIeee, mean, var, batches);
  EXPECT_EQ(mean[0], 0);
  EXPECT_FALSE(std::signbit(mean[0]));
}

}  // namespace
}  // namespace batchnorm::kernel
