// What is summed by integers throughout: a prediction that fits no data would
// cost nothing but time, so sums alone do not show it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

#include "server/kernel/channel_sums.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/shapes.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

class CertifiedDataTest
    : public testing::TestWithParam<std::tuple<std::int64_t, Dtype>> {
 protected:
  Dtype dtype() const { return std::get<1>(GetParam()); }

  // Normal values times `scale`. None is 0 or much smaller than the others, so
  // that f64 certifies them too.
  TestTensor Normal(std::int64_t size, double scale) {
    std::normal_distribution<double> normal;
    std::vector<double> values(static_cast<std::size_t>(size));
    for (double& v : values) {
      const double n = normal(random_);
      v = scale * std::copysign(std::abs(n) + 0x1p-8, n);
    }
    return {dtype(), values};
  }

  // Values near `mean`.
  TestTensor Near(std::int64_t size, double mean) {
    std::normal_distribution<double> normal(1, 0x1p-7);
    std::vector<double> values(static_cast<std::size_t>(size));
    for (double& v : values) v = mean * normal(random_);
    return {dtype(), values};
  }

  static std::vector<ChannelLayout> Layouts() {
    return {Shape{{1024, 40}, {1}}.layout(), Shape{{2, 40, 512}, {1}}.layout()};
  }

  Random random_{5};

 private:
  ForcedTarget target_{std::get<0>(GetParam())};
};

template <typename Sums>
int Fitting(const Sums& sums) {
  int fit = 0;
  for (std::int64_t c = 0; c < sums.channels(); ++c) {
    fit += int{sums.totals(c).fits()};
  }
  return fit;
}

// Of 40 channels.
constexpr int kMost = 36;

// Down to gradients that are subnormal, as those of f16 often are.
TEST_P(CertifiedDataTest, OfAnyMagnitudeAreIntegers) {
  const std::vector<double> scales =
      dtype() == Dtype::kF16
          ? std::vector{1e4, 1.0, 1e-3, 1e-5, 1e-6}
          : std::vector{1e30, 1.0, 1e-6, 1e-30, 1e-38, 1e-40};
  for (const ChannelLayout& layout : Layouts()) {
    const TestTensor x = Normal(layout.size(), 1);
    for (const double scale : scales) {
      const TestTensor scaled = Normal(layout.size(), scale);
      EXPECT_GE(Fitting(SumsOf(layout, scaled)), kMost) << scale;
      EXPECT_GE(Fitting(SumsOf(layout, x, scaled)), kMost) << scale;
      EXPECT_GE(Fitting(SumsOf(layout, scaled, x)), kMost) << scale;
    }
  }
}

// Whose mean square is in the upper half of its binades, too.
TEST_P(CertifiedDataTest, OfOneSignAreIntegers) {
  for (const ChannelLayout& layout : Layouts()) {
    for (const double mean : {1.1, 1.35, 1.45, 1.7, 1.9, 1.97}) {
      const TestTensor x = Near(layout.size(), mean);
      EXPECT_GE(Fitting(SumsOf(layout, x)), kMost) << mean;
      EXPECT_GE(Fitting(SumsOf(layout, x, Near(layout.size(), mean))), kMost)
          << mean;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, CertifiedDataTest,
    testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                     testing::ValuesIn(kDtypes)),
    NameOfTargetAndDtype);

}  // namespace
}  // namespace batchnorm::kernel
