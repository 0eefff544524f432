#include "server/kernel/inverse_std.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include "server/kernel/rounding.h"

namespace batchnorm::kernel {
namespace {

// Within these binades gamma * inv_std, k and the differences of any f32 data
// and of most f64 data are ordinary doubles. It must not depend on the data's
// dtype: shards of one batch may have several.
constexpr int kMaxUnscaledExponent = 256;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

InverseStd Unscaled(double value) { return {value, value, 0}; }

}  // namespace

InverseStd RoundInverseStd(const Dyadic& a, const Dyadic& b,
                           Degenerate degenerate) {
  if (b.is_negative()) return Unscaled(kNan);
  if (b.is_zero()) {
    return Unscaled(degenerate == Degenerate::kUnitCorrection ? 0.0
                                                              : kInfinity);
  }
  const double value = RoundSqrtQuotient(a, b);
  const int scale = InverseStdScale(a, b);
  if (scale == 0) return Unscaled(value);
  const Dyadic shifted = a * Dyadic::PowerOfTwo(-2 * scale);
  return {value, RoundSqrtQuotient(shifted, b), scale};
}

int InverseStdScale(const Dyadic& a, const Dyadic& b) {
  if (b.is_zero() || b.is_negative()) return 0;
  const int exponent = FloorLog2SqrtQuotient(a, b);
  return std::abs(exponent) <= kMaxUnscaledExponent ? 0 : exponent;
}

InverseStd RunningInverseStd(double var, double eps, Degenerate degenerate) {
  if (std::isnan(var)) return Unscaled(kNan);
  if (std::isinf(var)) return Unscaled(var > 0 ? 0.0 : kNan);
  return RoundInverseStd(Dyadic::PowerOfTwo(0),
                         Dyadic::FromDouble(var) + Dyadic::FromDouble(eps),
                         degenerate);
}

}  // namespace batchnorm::kernel
