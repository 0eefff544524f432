// The first 159 bits of a number of any length, in three integers that a double
// holds each: what finishing in lanes needs to know of a long sum
// (finishing.md).
//
//   |value| = (limbs[0] * 2^106 + limbs[1] * 2^53 + limbs[2] + rest)
//             * 2^exponent,   0 <= rest < 1
//
// A value type; thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_LEADING_BITS_H_
#define BATCHNORMD_SERVER_KERNEL_LEADING_BITS_H_

#include <array>
#include <cstdint>
#include <span>

namespace batchnorm::kernel {

struct LeadingBits {
  static constexpr int kLimbBits = 53;
  static constexpr int kBits = 3 * kLimbBits;

  LeadingBits() = default;  // 0

  // Of the sum of digits[i] * 2^(low + 32*i). Carries may wait in them.
  static LeadingBits OfDigits(std::span<const std::int64_t> digits, int low);
  // Of the sum of limbs[i] * 2^(64 * (low + i)), as of Dyadic: the last one is
  // not 0, and 0 has none.
  static LeadingBits OfLimbs(bool is_negative, int low,
                             std::span<const std::uint64_t> limbs);

  bool is_zero() const { return limbs[0] == 0; }
  // The greatest e such that the limbs are a multiple of 2^e.
  // REQUIRES: not zero.
  int LowestBit() const;
  // A limb with its sign, in units of 2^unit.
  double Limb(std::size_t i, int unit) const;

  bool operator==(const LeadingBits&) const = default;

  bool is_negative = false;
  bool is_all = true;                       // rest is 0
  std::array<std::uint64_t, 3> limbs = {};  // the first is 0 or at least 2^52
  int exponent = 0;

 private:
  // Of 192 bits, the first of which is 1, times 2^lowest, and something less
  // than the last one if `has_more`.
  LeadingBits(bool is_negative, std::uint64_t high, std::uint64_t middle,
              std::uint64_t last, int lowest, bool has_more);
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_LEADING_BITS_H_
