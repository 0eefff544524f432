// Limbs of neighbouring channels as integers of one unit, where they are of
// like magnitudes: what a rank of a group sends of an ordinary batch. Rows are
// read as they lie: once where a unit is tried that did for other channels,
// else twice, for what they have in common first. Exact. Thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_LIMB_BLOCK_H_
#define BATCHNORMD_SERVER_KERNEL_LIMB_BLOCK_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "server/kernel/certificate.h"
#include "server/kernel/decoded_double.h"
#include "server/kernel/fast_limbs.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::kernel {

// Where they lie. REQUIRES: begin < end <= channels, size() <= kHalvesChannels.
struct LimbPlace {
  const LimbsView& rows;
  std::size_t channels;
  std::size_t begin;
  std::size_t end;

  const std::byte* row(std::size_t i) const {
    return rows.address(i * channels + begin);
  }
  std::size_t size() const { return end - begin; }
};

// Each channel's limbs together, in units of 2^unit, if they are small integers
// of that; else false, and anything in `integers`, which are zeros.
inline bool ReadQuickly(const LimbPlace& place, int unit, Halves& integers) {
  static_assert(kQuickBits + kLimbsBits <= kLimbsRoom);
  for (std::size_t i = 0; i < place.rows.size(); ++i) {
    const int row_unit = unit - place.rows.scale(i);
    if (std::abs(row_unit) > kMaxQuickUnit) return false;
    if (!AddLimbsQuickly(place.row(i), place.size(), row_unit, integers)) {
      return false;
    }
  }
  return true;
}

class LimbBlock {
 public:
  explicit LimbBlock(const LimbPlace& place) : place_(place) {
    for (std::size_t i = 0; i < place.rows.size(); ++i) FindRange(i);
  }

  // The greatest e of which all limbs are multiples of 2^e; `otherwise` if all
  // are 0.
  int Lowest(int otherwise) const {
    return lowest_ == kNone ? otherwise : lowest_;
  }

  // Whether Integers can be called. All limbs of a channel together are below
  // 2^(highest_ + kLimbsBits).
  bool Fits(int unit) const {
    if (!is_finite_ || unit > lowest_) return false;
    if (highest_ + kLimbsBits - unit > kLimbsRoom) return false;
    for (std::size_t i = 0; i < place_.rows.size(); ++i) {
      if (std::abs(place_.rows.scale(i) - unit) > kMaxShift) return false;
    }
    return true;
  }

  // Each channel's limbs together, in units of 2^unit; `integers` are zeros.
  // REQUIRES: Fits(unit).
  void Read(int unit, Halves& integers) const {
    if (ReadQuickly(place_, unit, integers)) return;
    integers = {};
    for (std::size_t i = 0; i < place_.rows.size(); ++i) {
      AddLimbs(place_.row(i), place_.size(),
               PowerOfTwoDouble(place_.rows.scale(i) - unit), integers);
    }
  }

 private:
  static constexpr int kNone = 1 << 20;
  // Neither half of a channel's limbs overflows.
  static_assert(kLimbLowBits + kLimbsBits <= 63 &&
                kLimbsRoom - kLimbLowBits <= 62);
  static constexpr int kMaxShift = 1000;  // of a power of two that is a double

  void FindRange(std::size_t i) {
    const LimbRange range = RangeOfLimbs(place_.row(i), place_.size());
    const int scale = place_.rows.scale(i);
    const auto greatest = std::bit_cast<double>(range.greatest);
    if (greatest == 0) return;
    if (!IsFiniteDouble(greatest)) {
      is_finite_ = false;
      return;
    }
    const DecodedDouble lowest =
        Decode(std::bit_cast<double>(range.lowest_bit));
    lowest_ = std::min(
        lowest_, lowest.exponent + scale + std::countr_zero(lowest.magnitude));
    highest_ = std::max(highest_, Decode(greatest).exponent + 53 + scale);
  }

  LimbPlace place_;
  bool is_finite_ = true;
  int lowest_ = kNone;
  int highest_ = -kNone;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_LIMB_BLOCK_H_
