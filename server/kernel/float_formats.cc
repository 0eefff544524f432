#include "server/kernel/float_formats.h"

#include <algorithm>

namespace batchnorm::kernel {
namespace {

// A 16-bit IEEE format: sign, exponent, fraction.
struct Format {
  int exponent_bits;

  constexpr int fraction_bits() const { return 15 - exponent_bits; }
  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr std::uint64_t infinity() const {
    return ((std::uint64_t{1} << exponent_bits) - 1) << fraction_bits();
  }
};

constexpr Format kF16{5};
constexpr Format kBF16{8};

// value / 2^shift to the nearest integer, ties to even. REQUIRES: shift > 0.
constexpr std::uint64_t ShiftToEven(std::uint64_t value, int shift) {
  if (shift > 63) return 0;
  const std::uint64_t kept = value >> shift;
  const std::uint64_t rest = value - (kept << shift);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  return kept + (rest > half || (rest == half && kept % 2 != 0) ? 1 : 0);
}

constexpr std::uint16_t Narrow(double value, Format format) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const std::uint64_t magnitude = bits & ~(std::uint64_t{1} << 63);
  constexpr std::uint64_t kInfinity = std::uint64_t{0x7ff} << 52;
  const std::uint64_t quiet = std::uint64_t{1} << (format.fraction_bits() - 1);
  if (magnitude > kInfinity) {
    return static_cast<std::uint16_t>(format.infinity() | quiet);
  }
  // Subnormals of double are far below half of the least 16-bit number.
  const int field = static_cast<int>(magnitude >> 52) - 1023 + format.bias();
  const std::uint64_t significand =
      (magnitude & ((std::uint64_t{1} << 52) - 1)) | std::uint64_t{1} << 52;
  const int below = std::max(1 - field, 0);  // binades below the normal range
  const std::uint64_t steps =
      ShiftToEven(significand, 52 - format.fraction_bits() + below);
  // `steps` includes the hidden bit, which raises the field by one; a carry out
  // of the fraction raises it further, as it should.
  const auto base = static_cast<std::uint64_t>(std::max(field - 1, 0))
                    << format.fraction_bits();
  const std::uint64_t result = std::min(base + steps, format.infinity());
  return static_cast<std::uint16_t>(bits >> 63 << 15 | result);
}

}  // namespace

std::uint16_t NarrowToF16(double value) { return Narrow(value, kF16); }

std::uint16_t NarrowToBF16(double value) { return Narrow(value, kBF16); }

}  // namespace batchnorm::kernel
