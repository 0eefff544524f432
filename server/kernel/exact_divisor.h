// A product of two counts, prepared for dividing many channels by it.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_EXACT_DIVISOR_H_
#define BATCHNORMD_SERVER_KERNEL_EXACT_DIVISOR_H_

#include <cstdint>

namespace batchnorm::kernel {

struct ExactDivisor {
  double hi;             // the nearest double
  double lo;             // the rest: hi + lo is exact
  double reciprocal;     // 1/hi, nearest
  bool is_power_of_two;  // quotients are products with the reciprocal, exactly
};

inline constexpr std::int64_t kMaxFastCount = std::int64_t{1} << 53;

// a * b. REQUIRES: both are at least 1 and below kMaxFastCount.
inline ExactDivisor DivisorOf(std::int64_t a, std::int64_t b = 1) {
  using Wide = unsigned __int128;
  const Wide product =
      Wide{static_cast<std::uint64_t>(a)} * Wide{static_cast<std::uint64_t>(b)};
  const double hi = static_cast<double>(product);
  // Below 2^52 in magnitude, in either direction; wraps around consistently.
  const Wide rest = product - static_cast<Wide>(hi);
  return {.hi = hi,
          .lo = static_cast<double>(static_cast<std::int64_t>(rest)),
          .reciprocal = 1.0 / hi,
          .is_power_of_two = (product & (product - 1)) == 0};
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_EXACT_DIVISOR_H_
