// Limbs of neighbouring channels as integers of one unit, where they are of
// like magnitudes: what a rank of a group sends of an ordinary batch. Rows are
// read as they lie, twice: for what they have in common, and once that is known
// to do, as integers without a further test. Exact. Thread-compatible.
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

class LimbBlock {
 public:
  static constexpr std::size_t kMaxChannels = kHalvesChannels;

  // REQUIRES: begin < end <= channels, end - begin <= kMaxChannels.
  LimbBlock(const LimbsView& rows, std::size_t channels, std::size_t begin,
            std::size_t end)
      : rows_(rows), channels_(channels), begin_(begin), end_(end) {
    for (std::size_t i = 0; i < rows.size(); ++i) FindRange(i);
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
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (std::abs(rows_.scale(i) - unit) > kMaxShift) return false;
    }
    return true;
  }

  // Each channel's limbs together, in units of 2^unit. REQUIRES: Fits(unit).
  Halves Integers(int unit) const {
    Halves integers;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      AddLimbs(rows_.address(i * channels_ + begin_), end_ - begin_,
               PowerOfTwoDouble(rows_.scale(i) - unit), integers);
    }
    return integers;
  }

 private:
  static constexpr int kNone = 1 << 20;
  // Neither half of a channel's limbs overflows.
  static_assert(kLimbLowBits + kLimbsBits <= 63 &&
                kLimbsRoom - kLimbLowBits <= 62);
  static constexpr int kMaxShift = 1000;  // of a power of two that is a double

  void FindRange(std::size_t i) {
    const LimbRange range =
        RangeOfLimbs(rows_.address(i * channels_ + begin_), end_ - begin_);
    const auto greatest = std::bit_cast<double>(range.greatest);
    if (greatest == 0) return;
    if (!IsFiniteDouble(greatest)) {
      is_finite_ = false;
      return;
    }
    const DecodedDouble lowest =
        Decode(std::bit_cast<double>(range.lowest_bit));
    lowest_ = std::min(lowest_, lowest.exponent + rows_.scale(i) +
                                    std::countr_zero(lowest.magnitude));
    highest_ =
        std::max(highest_, Decode(greatest).exponent + 53 + rows_.scale(i));
  }

  const LimbsView& rows_;
  std::size_t channels_;
  std::size_t begin_;
  std::size_t end_;
  bool is_finite_ = true;
  int lowest_ = kNone;
  int highest_ = -kNone;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_LIMB_BLOCK_H_
