// What the vector code writes where a result lies half-way between two 16-bit
// numbers, or as near to that as a double can, over the whole range of both
// formats, against the scalar narrowing that float_formats_test.cc holds to its
// definition.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "server/kernel/coefficients.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/float_formats.h"
#include "server/kernel/floating_point_scope.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

constexpr std::int64_t kPatterns = 1 << 16;

struct Line {
  double gain;
  double beta;
};

// 1.5 makes odd numbers half-way ones; the others make neighbours of these,
// subnormal numbers, and numbers above the range.
std::vector<Line> Lines() {
  std::vector<Line> lines = {{1, 0}, {-1, 0}, {1, 0x1p-133}, {1, -0x1p-24}};
  for (const double scale : {1.0, 0x1p-3, 0x1p-8, 0x1p-14, 0x1p-24, 0x1p3}) {
    for (const double gain : {1.0, 1.5, 1.25, 1.5 + 0x1p-45, 1.5 - 0x1p-45}) {
      for (const double beta : {0.0, 0x1p-150, -0x1p-150}) {
        lines.push_back({gain * scale, beta});
      }
    }
  }
  return lines;
}

class NarrowingTest
    : public testing::TestWithParam<std::tuple<std::int64_t, Dtype>> {
 protected:
  Dtype dtype() const { return std::get<1>(GetParam()); }
  double Widen(std::uint16_t bits) const {
    return dtype() == Dtype::kF16 ? WidenF16(bits) : WidenBF16(bits);
  }
  std::uint16_t Narrow(double v) const {
    return dtype() == Dtype::kF16 ? NarrowToF16(v) : NarrowToBF16(v);
  }

 private:
  FloatingPointScope scope_;
  ForcedTarget target_{std::get<0>(GetParam())};
};

TEST_P(NarrowingTest, RoundsOnceForEveryPattern) {
  std::vector<std::uint16_t> x(kPatterns);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<std::uint16_t>(i * 40503);  // all, in a mixed order
  }
  std::vector<std::uint16_t> y(kPatterns);
  const Box box{0, 1, kPatterns, kPatterns, kPatterns, 0, 0};
  for (const Line& line : Lines()) {
    Coefficients c = ForwardRoom(1);
    c.gain[0] = line.gain;
    c.beta[0] = line.beta;
    ApplyBox(Formula::kForward,
             {dtype(), reinterpret_cast<const std::byte*>(x.data()), nullptr,
              reinterpret_cast<std::byte*>(y.data())},
             box, c, {});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = line.gain * (Widen(x[i]) - 0.0 - 0.0) + line.beta;
      ASSERT_EQ(y[i], Narrow(Canonical(exact)))
          << Widen(x[i]) << " * " << line.gain << " + " << line.beta;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, NarrowingTest,
    testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                     testing::Values(Dtype::kF16, Dtype::kBF16)),
    NameOfTargetAndDtype);

}  // namespace
}  // namespace batchnorm::kernel
