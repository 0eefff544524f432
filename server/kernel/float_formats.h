// The element formats of tensors, to and from double.
//
// Widening is exact. Narrowing rounds once, to nearest, ties to even, with
// gradual underflow and infinities above the range; -0 stays -0. The 16-bit
// conversions are integer code of our own, because hardware and libraries
// differ in rounding and in subnormals. Every NaN is written as one pattern,
// positive, quiet and without payload, for the same reason. Thread-safe.
// REQUIRES: a FloatingPointScope, for widening f16 and narrowing to f32.
#ifndef BATCHNORMD_SERVER_KERNEL_FLOAT_FORMATS_H_
#define BATCHNORMD_SERVER_KERNEL_FLOAT_FORMATS_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace batchnorm::kernel {

// IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits.
double WidenF16(std::uint16_t bits);
std::uint16_t NarrowToF16(double value);

// The upper half of an IEEE 754 binary32.
double WidenBF16(std::uint16_t bits);
std::uint16_t NarrowToBF16(double value);

float NarrowToF32(double value);

// value, or the one NaN.
double Canonical(double value);

inline double WidenBF16(std::uint16_t bits) {
  return double{std::bit_cast<float>(std::uint32_t{bits} << 16)};
}

inline double WidenF16(std::uint16_t bits) {
  const std::uint64_t magnitude = bits & 0x7fff;
  const std::uint64_t sign = std::uint64_t{bits} >> 15 << 63;
  // The same digits under double's bias are 2^1008 too small, and exact: also
  // for subnormals, which this multiplication normalizes.
  double value = std::bit_cast<double>(magnitude << 42) * 0x1p1008;
  if (magnitude >= 0x7c00) {
    value = magnitude == 0x7c00 ? std::numeric_limits<double>::infinity()
                                : std::numeric_limits<double>::quiet_NaN();
  }
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(value) | sign);
}

inline double Canonical(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}

inline float NarrowToF32(double value) {
  const auto narrow = static_cast<float>(value);
  return std::isnan(narrow) ? std::numeric_limits<float>::quiet_NaN() : narrow;
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FLOAT_FORMATS_H_
