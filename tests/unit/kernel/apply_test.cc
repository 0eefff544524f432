// y and dx of hard batches stay within the bounds of README.md, "Error bounds".
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/channel_truth.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

using truth::Real;
using truth::RealPowerOfTwo;

struct Precision {
  int bits;         // of the significand
  int least;        // binade of the smallest normal number
  double greatest;  // finite number
};

Precision PrecisionOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return {11, -14, 65504};
    case Dtype::kBF16:
      return {8, -126, 0x1.fep127};
    case Dtype::kF32:
      return {24, -126, std::numeric_limits<float>::max()};
    case Dtype::kF64:
      return {53, -1022, std::numeric_limits<double>::max()};
  }
  return {};
}

// The distance of the dtype's numbers around `value`.
Real Ulp(Dtype dtype, const Real& value) {
  const Precision precision = PrecisionOf(dtype);
  const int binade = value.IsZero()
                         ? precision.least
                         : std::max(value.FloorLog2(), precision.least);
  return RealPowerOfTwo(binade - precision.bits + 1);
}

const Real kU = RealPowerOfTwo(-53);

// eq. 18's bound. `product` is |gamma * x_hat|; `slope` is |gamma|, times
// inv_std where x_hat is not scaled: the floor where mean_lo underflows.
Real BoundOfY(Dtype dtype, const Real& y, const Real& product, double slope) {
  if (dtype == Dtype::kF64) {
    return Ulp(dtype, y) * Real(0.5) + Real(5) * kU * product +
           Real(slope) * RealPowerOfTwo(-1074);
  }
  return Real(0.501) * Ulp(dtype, Max(Abs(y), RealPowerOfTwo(-16) * product));
}

// eq. 19's bound. `terms` is |gamma| inv_std T.
Real BoundOfDx(Dtype dtype, const Real& dx, const Real& terms) {
  if (dtype == Dtype::kF64) {
    return Real(8) * kU * terms + RealPowerOfTwo(-1074);
  }
  return Real(0.501) * Ulp(dtype, Max(Abs(dx), RealPowerOfTwo(-16) * terms));
}

// The worst error of a dtype, in units of its bound.
class Worst {
 public:
  void Check(Dtype dtype, double actual, const Real& expected,
             const Real& bound, const std::string& where) {
    const double limit = PrecisionOf(dtype).greatest;
    if (std::isinf(actual)) {  // right if the nearest number is out of range
      ASSERT_TRUE(Real(limit) <= Abs(expected)) << where;
      return;
    }
    ASSERT_TRUE(std::isfinite(actual)) << where;
    const double units = (Abs(Real(actual) - expected) / bound).ToDouble();
    ASSERT_LE(units, 1) << where << ": " << actual << " for "
                        << expected.ToDouble();
    if (units > units_) units_ = units, where_ = where;
  }
  void Print(const char* what, Dtype dtype) const {
    std::printf("%-4s %s: worst error %.4f of its bound (%s)\n",
                NameOf(dtype).c_str(), what, units_, where_.c_str());
  }

 private:
  double units_ = 0;
  std::string where_ = "none";
};

struct Affine {
  double gamma;
  double beta;
};

// Ordinary; negative; beta that cancels gamma * x_hat; extreme.
std::vector<Affine> Affines(Dtype dtype) {
  std::vector<Affine> affines = {{1, 0}, {-0.7, 0.3}, {1.3, -1.3}, {1e-3, 5}};
  if (dtype == Dtype::kF64) affines.push_back({1e100, -1e100});
  return affines;
}

struct Columned {
  ChannelLayout layout;
  TestTensor x;
  TestTensor dy;
};

Columned TensorsOf(Dtype dtype, const std::vector<HardChannel>& channels) {
  const auto n = static_cast<std::int64_t>(channels[0].x.size());
  const auto c = static_cast<std::int64_t>(channels.size());
  return {ChannelLayout(std::vector{n, c}, std::vector{1}),
          TestTensor(dtype, XColumns(channels)),
          TestTensor(dtype, DyColumns(channels))};
}

class ApplyTest : public testing::TestWithParam<Dtype> {};

TEST_P(ApplyTest, YIsWithinItsBoundOnHardBatches) {
  const Dtype dtype = GetParam();
  Random random(16);
  const auto channels = HardChannels(dtype, 65, random);
  const Columned tensors = TensorsOf(dtype, channels);
  const ForwardSums sums = SumsOf(tensors.layout, tensors.x);
  Worst worst;
  for (const double eps : {0.0, 1e-5}) {
    const Statistics s = FinishForward(sums, eps, Degenerate::kUnitCorrection);
    for (const Affine& affine : Affines(dtype)) {
      const std::vector<double> gamma(channels.size(), affine.gamma);
      const std::vector<double> beta(channels.size(), affine.beta);
      const std::vector<double> y =
          Normalize(tensors.layout, tensors.x, s, gamma, beta).values();
      for (std::size_t c = 0; c < channels.size(); ++c) {
        const truth::ForwardTruth forward(channels[c].x, eps);
        if (forward.degenerate()) continue;
        const truth::ElementTruth element(forward);
        const double slope =
            std::abs(affine.gamma) * (s.scale[c] == 0 ? 1 + s.inv_std[c] : 1);
        for (std::size_t i = 0; i < channels[c].x.size(); ++i) {
          const double x = channels[c].x[i];
          const Real expected = element.Y(x, affine.gamma, affine.beta);
          const Real product = Abs(Real(affine.gamma) * element.XHat(x));
          ASSERT_NO_FATAL_FAILURE(worst.Check(
              dtype, y[i * channels.size() + c], expected,
              BoundOfY(dtype, expected, product, slope), channels[c].name));
        }
      }
    }
  }
  worst.Print("y ", dtype);
}

TEST_P(ApplyTest, DxIsWithinItsBoundOnHardBatches) {
  const Dtype dtype = GetParam();
  Random random(17);
  const auto channels = HardChannels(dtype, 65, random);
  const Columned tensors = TensorsOf(dtype, channels);
  const ForwardSums sums = SumsOf(tensors.layout, tensors.x);
  const BackwardSums backward = SumsOf(tensors.layout, tensors.x, tensors.dy);
  Worst worst;
  for (const double eps : {0.0, 1e-5}) {
    const Statistics s = FinishForward(sums, eps, Degenerate::kUnitCorrection);
    const Gradients g =
        FinishBackward(sums, backward, eps, Degenerate::kUnitCorrection);
    for (const double gamma_value : {1.0, -0.7, 1e-3}) {
      const std::vector<double> gamma(channels.size(), gamma_value);
      const std::vector<double> dx =
          Differentiate(tensors.layout, tensors.x, tensors.dy, s, g, gamma)
              .values();
      for (std::size_t c = 0; c < channels.size(); ++c) {
        const HardChannel& channel = channels[c];
        const truth::ForwardTruth forward(channel.x, eps);
        if (forward.degenerate()) continue;
        const truth::ElementTruth element(
            forward, truth::BackwardTruth(forward, channel.x, channel.dy));
        for (std::size_t i = 0; i < channel.x.size(); ++i) {
          const Real expected =
              element.Dx(channel.x[i], channel.dy[i], gamma_value);
          const Real terms =
              element.DxTerms(channel.x[i], channel.dy[i], gamma_value);
          ASSERT_NO_FATAL_FAILURE(
              worst.Check(dtype, dx[i * channels.size() + c], expected,
                          BoundOfDx(dtype, expected, terms), channel.name));
        }
      }
    }
  }
  worst.Print("dx", dtype);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ApplyTest, testing::ValuesIn(kDtypes),
                         [](const auto& instance) {
                           return NameOf(instance.param);
                         });

}  // namespace
}  // namespace batchnorm::kernel
