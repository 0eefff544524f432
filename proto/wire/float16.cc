#include "proto/wire/float16.h"

#include <algorithm>
#include <cmath>

namespace batchnorm {
namespace {

// sign | exponent | fraction, from the highest bit of sixteen.
struct Format {
  int fraction_bits;
  int bias;

  int exponent_bits() const { return 15 - fraction_bits; }
  // Of subnormal numbers too, which are multiples of 2^(min - fraction_bits).
  int min_exponent() const { return 1 - bias; }
  std::uint32_t infinity() const {
    return ((1U << exponent_bits()) - 1U) << fraction_bits;
  }
  std::uint32_t quiet_nan() const {
    return infinity() | (1U << (fraction_bits - 1));
  }
};

constexpr Format kF16{.fraction_bits = 10, .bias = 15};
constexpr Format kBF16{.fraction_bits = 7, .bias = 127};

// `magnitude` is finite and not negative. Steps between neighbours are equal
// within an exponent, and codes count them: a carry reaches the next exponent,
// and Inf after the largest, by itself.
std::uint32_t EncodeMagnitude(double magnitude, const Format& format) {
  if (magnitude == 0) return 0;
  const int exponent = std::max(std::ilogb(magnitude), format.min_exponent());
  if (exponent > format.bias) return format.infinity();
  const double steps =
      std::nearbyint(std::ldexp(magnitude, format.fraction_bits - exponent));
  const int below = exponent - format.min_exponent();
  return (static_cast<std::uint32_t>(below) << format.fraction_bits) +
         static_cast<std::uint32_t>(steps);
}

std::uint16_t Encode(double value, const Format& format) {
  const std::uint32_t sign = std::signbit(value) ? 0x8000U : 0U;
  std::uint32_t code = format.quiet_nan();
  if (std::isinf(value)) code = format.infinity();
  if (std::isfinite(value)) code = EncodeMagnitude(std::fabs(value), format);
  return static_cast<std::uint16_t>(sign | code);
}

double DecodeMagnitude(std::uint32_t code, const Format& format) {
  if (code > format.infinity()) return std::nan("");
  if (code == format.infinity()) return HUGE_VAL;
  const std::uint32_t hidden = 1U << format.fraction_bits;
  const auto field = static_cast<int>(code >> format.fraction_bits);
  const std::uint32_t fraction = code & (hidden - 1U);
  const std::uint32_t steps = field == 0 ? fraction : fraction | hidden;
  const int exponent = std::max(field, 1) - format.bias;
  return std::ldexp(static_cast<double>(steps),
                    exponent - format.fraction_bits);
}

double Decode(std::uint16_t bits, const Format& format) {
  const double magnitude = DecodeMagnitude(bits & 0x7FFFU, format);
  return std::copysign(magnitude, (bits & 0x8000U) != 0 ? -1.0 : 1.0);
}

}  // namespace

double DecodeF16(std::uint16_t bits) { return Decode(bits, kF16); }
double DecodeBF16(std::uint16_t bits) { return Decode(bits, kBF16); }
std::uint16_t EncodeF16(double value) { return Encode(value, kF16); }
std::uint16_t EncodeBF16(double value) { return Encode(value, kBF16); }

}  // namespace batchnorm
