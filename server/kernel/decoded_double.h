// A finite double as an integer times a power of two. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_DECODED_DOUBLE_H_
#define BATCHNORMD_SERVER_KERNEL_DECODED_DOUBLE_H_

#include <bit>
#include <cstdint>

namespace batchnorm::kernel {

// (negative ? -1 : 1) * magnitude * 2^exponent.
struct DecodedDouble {
  std::uint64_t magnitude;  // below 2^53
  int exponent;
  bool negative;
};

inline bool IsFiniteDouble(double value) {
  return (std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ff) != 0x7ff;
}

// REQUIRES: value is finite.
inline DecodedDouble Decode(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const auto field = static_cast<int>(bits >> 52 & 0x7ff);
  const std::uint64_t hidden = std::uint64_t{field != 0} << 52;
  const std::uint64_t fraction = bits & ((std::uint64_t{1} << 52) - 1);
  // Subnormals have the exponent of the smallest normal numbers.
  return {fraction | hidden, field + int{field == 0} - 1075, bits >> 63 != 0};
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_DECODED_DOUBLE_H_
