#include "client/cli/precision.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace batchnorm::cli {
namespace {

// An IEEE 754 binary format: significand bits with the hidden one, and the
// exponent of the smallest normal number.
struct Format {
  int precision;
  int min_exponent;
  double largest;
};

// In the order of Dtype.
constexpr std::array<Format, 4> kFormats = {{
    {11, -14, 65504.0},
    {8, -126, 0x1.FEp127},
    {24, -126, std::numeric_limits<float>::max()},
    {53, -1022, std::numeric_limits<double>::max()},
}};

const Format& FormatOf(Dtype dtype) {
  return kFormats[static_cast<std::size_t>(dtype)];
}

// The exponent of the last place of numbers as large as `value`.
int LastPlace(double value, const Format& format) {
  const int exponent = value == 0 ? format.min_exponent : std::ilogb(value);
  return std::max(exponent, format.min_exponent) - (format.precision - 1);
}

}  // namespace

double Rounded(double value, Dtype dtype) {
  const Format& format = FormatOf(dtype);
  if (!std::isfinite(value) || dtype == Dtype::kF64) return value;
  // Scaling by a power of two is exact: |value| stays within 2^1024, and no
  // double is below 2^-1074. nearbyint rounds ties to even.
  const int place = LastPlace(value, format);
  const double rounded =
      std::ldexp(std::nearbyint(std::ldexp(value, -place)), place);
  if (std::abs(rounded) <= format.largest) return rounded;
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

double Ulp(double value, Dtype dtype) {
  return std::ldexp(1.0, LastPlace(value, FormatOf(dtype)));
}

double Epsilon(Dtype dtype) { return Ulp(1.0, dtype); }

}  // namespace batchnorm::cli
