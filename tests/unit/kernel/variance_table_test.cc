// The variance of 2^20 f32 values of standard deviation 1 around ever larger
// means, where single precision loses everything: ours is the nearest double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/test_tensor.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Rational;

constexpr std::int64_t kImages = 64;
constexpr std::int64_t kSide = 128;
constexpr std::int64_t kCount = kImages * kSide * kSide;  // 2^20

std::vector<double> NormalValues(double mean) {
  std::mt19937_64 random(26);
  std::normal_distribution<double> normal(mean, 1);
  std::vector<double> values;
  values.reserve(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) {
    values.push_back(static_cast<float>(normal(random)));
  }
  return values;
}

Rational ExactVariance(const std::vector<double>& values) {
  const Rational n(static_cast<unsigned long>(values.size()));
  const Rational mean = truth::Sum(values) / n;
  return truth::SumOfProducts(values, values) / n - mean * mean;
}

// Two channels: the values, and their negatives, which have the same variance.
std::vector<double> Interleaved(const std::vector<double>& values) {
  std::vector<double> result;
  for (const double value : values) {
    result.push_back(value);
    result.push_back(-value);
  }
  return result;
}

std::vector<double> ByImage(const std::vector<double>& values) {
  std::vector<double> result;
  const auto plane = static_cast<std::size_t>(kSide * kSide);
  for (std::size_t first = 0; first < values.size(); first += plane) {
    for (const double sign : {1.0, -1.0}) {
      for (std::size_t i = first; i < first + plane; ++i) {
        result.push_back(sign * values[i]);
      }
    }
  }
  return result;
}

double VarianceOf(const std::vector<std::int64_t>& shape, int channel_axis,
                  const std::vector<double>& values) {
  const ChannelLayout layout(shape, std::vector{channel_axis});
  const Statistics s = FinishForward(
      SumsOf(layout, TestTensor(Dtype::kF32, values)), 1e-5, Degenerate::kIeee);
  EXPECT_EQ(s.var[0], s.var[1]);
  return s.var[0];
}

TEST(VarianceTableTest, Case16RelativeErrorIsAtMostTwoToTheMinus52AtAnyMean) {
  std::printf("%10s  %-22s  %-12s  %s\n", "mean", "variance", "relative err",
              "N x C = NCHW = NHWC");
  for (const double mean : {0.0, 1e2, 1e3, 1e4, 1e5, 1e6}) {
    const std::vector<double> values = NormalValues(mean);
    const std::vector<double> interleaved = Interleaved(values);
    const double rows = VarianceOf({kCount, 2}, 1, interleaved);
    const double last = VarianceOf({kImages, kSide, kSide, 2}, 3, interleaved);
    const double first =
        VarianceOf({kImages, 2, kSide, kSide}, 1, ByImage(values));
    const Rational exact = ExactVariance(values);
    const Rational error = abs(truth::Exact(rows) - exact) / exact;
    const double relative = truth::Nearest(error);
    const bool same = rows == first && rows == last;
    std::printf("%10g  %-22.17g  %-12.3g  %s\n", mean, rows, relative,
                same ? "same bits" : "DIFFERENT");
    EXPECT_LE(relative, 0x1p-52) << mean;
    EXPECT_TRUE(same) << mean;
  }
}

}  // namespace
}  // namespace batchnorm::kernel
