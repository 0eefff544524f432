// The sum of two integers at near scales, low * 2^unit + high * 2^(unit +
// shift), in the limbs of Dyadic, but on the stack: what a channel's integers
// come to (channel_totals.h), for those who read thousands of channels in a
// step. Exact. A value type.
#ifndef BATCHNORMD_SERVER_KERNEL_SMALL_SUM_H_
#define BATCHNORMD_SERVER_KERNEL_SMALL_SUM_H_

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "server/kernel/exact_sum.h"

namespace batchnorm::kernel {

class SmallSum {
 public:
  using Limb = Dyadic::Limb;
  using Wide = ExactSum::Wide;

  static constexpr int kMaxShift = 128;

  // REQUIRES: 0 <= shift <= kMaxShift, and |low|, |high| < 2^127.
  SmallSum(Wide low, Wide high, int shift, int unit) {
    assert(0 <= shift && shift <= kMaxShift);
    const int offset = unit & (kLimbBits - 1);
    low_ = (unit - offset) / kLimbBits;
    if (IsBelow(low, kWholeBits) && IsBelow(high, kWholeBits - shift)) {
      SetWhole(high == 0 ? low : low + (high << shift), offset);
    } else {
      // Two's complement. Below, 63 + 128 + 127 bits and one for the carry.
      Add(low, offset);
      Add(high, offset + shift);
      negative_ = static_cast<std::int64_t>(limbs_.back()) < 0;
      if (negative_) Negate();
    }
    while (end_ > 0 && limbs_[end_ - 1] == 0) --end_;
    while (begin_ < end_ && limbs_[begin_] == 0) ++begin_;
  }

  bool is_negative() const { return negative_; }
  // As of Dyadic: neither the first nor the last is 0, and 0 has none.
  std::span<const Limb> limbs() const {
    return std::span(limbs_).subspan(begin_, end_ - begin_);
  }
  int low() const { return low_ + static_cast<int>(begin_); }

 private:
  static constexpr int kLimbBits = 64;
  static constexpr std::size_t kLimbs = 5;
  // Two integers below 2^this are one together, as nearly all are.
  static constexpr int kWholeBits = 125;

  using Bits = unsigned __int128;

  static Bits MagnitudeOf(Wide value) {
    return value < 0 ? -static_cast<Bits>(value) : static_cast<Bits>(value);
  }
  static bool IsBelow(Wide value, int bits) {
    return value == 0 || (bits >= 0 && MagnitudeOf(value) >> bits == 0);
  }

  void SetWhole(Wide value, int offset) {
    const Bits magnitude = MagnitudeOf(value);
    negative_ = value < 0;
    const Bits shifted = magnitude << offset;
    limbs_[0] = static_cast<Limb>(shifted);
    limbs_[1] = static_cast<Limb>(shifted >> kLimbBits);
    if (offset > 0) {
      limbs_[2] = static_cast<Limb>(magnitude >> (2 * kLimbBits - offset));
    }
    end_ = 3;
  }

  void Add(Wide value, int shift) {
    const auto words = static_cast<Bits>(value);
    const Limb sign = value < 0 ? ~Limb{0} : 0;
    const Limb parts[] = {static_cast<Limb>(words),
                          static_cast<Limb>(words >> kLimbBits), sign};
    const int bits = shift % kLimbBits;
    Limb below = 0;  // the part whose upper bits the next limb begins with
    Bits carry = 0;
    for (auto i = static_cast<std::size_t>(shift / kLimbBits), part = 0UL;
         i < kLimbs; ++i, ++part) {
      const Limb above = part < std::size(parts) ? parts[part] : sign;
      const Bits both = Bits{above} << kLimbBits | below;
      carry += Bits{limbs_[i]} + static_cast<Limb>(both >> (kLimbBits - bits));
      limbs_[i] = static_cast<Limb>(carry);
      carry >>= kLimbBits;
      below = above;
    }
  }

  void Negate() {
    Bits carry = 1;
    for (Limb& limb : limbs_) {
      carry += static_cast<Limb>(~limb);
      limb = static_cast<Limb>(carry);
      carry >>= kLimbBits;
    }
  }

  std::array<Limb, kLimbs> limbs_ = {};  // least significant first
  std::size_t begin_ = 0;
  std::size_t end_ = kLimbs;
  int low_ = 0;
  bool negative_ = false;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_SMALL_SUM_H_
