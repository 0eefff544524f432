// All limbs of one channel, of whatever magnitudes. Thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_LIMB_COLUMN_H_
#define BATCHNORMD_SERVER_KERNEL_LIMB_COLUMN_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "server/kernel/decoded_double.h"
#include "server/kernel/exact_sum.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::kernel {

class LimbColumn {
 public:
  void Read(const LimbsView& rows, std::size_t channels, std::size_t channel) {
    size_ = 0;
    lowest_ = kNone;
    highest_ = -kNone;
    is_finite_ = true;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Add(rows.limb(i * channels + channel), rows.scale(i));
    }
  }

  bool is_finite() const { return is_finite_; }
  bool is_zero() const { return size_ == 0; }
  // The greatest e of which all limbs are multiples of 2^e; `otherwise` if
  // there are none.
  int Lowest(int otherwise) const { return is_zero() ? otherwise : lowest_; }
  bool IsWithin(int lowest, int end) const {
    return is_zero() || (lowest_ >= lowest && Bound() <= end);
  }

  // Whether Integer can be called, and many of what it gives be merged.
  bool Fits(int unit) const {
    return is_finite_ &&
           (is_zero() || (unit <= lowest_ && Bound() - unit <= kLimbsRoom));
  }

  // In units of 2^unit. REQUIRES: Fits(unit).
  ExactSum::Wide Integer(int unit) const {
    ExactSum::Wide total = 0;
    for (const Limb& limb : limbs()) {
      total += ExactSum::Wide{limb.odd} << (limb.exponent - unit);
    }
    return total;
  }

  ExactSum Exact() const {
    ExactSum sum;
    for (const Limb& limb : limbs()) sum.AddScaled(limb.odd, limb.exponent);
    if (!is_finite_) sum.Merge(ExactSum::FromNonFinite(non_finite_));
    return sum;
  }

 private:
  // A finite limb that is not 0: an odd integer times a power of two.
  struct Limb {
    std::int64_t odd;
    int exponent;
  };

  static constexpr int kNone = 1 << 20;

  std::span<const Limb> limbs() const { return {limbs_.data(), size_}; }
  // All limbs together are below 2^this.
  int Bound() const { return highest_ + kLimbsBits; }

  void Add(double value, std::int32_t scale) {
    if (!IsFiniteDouble(value)) {
      non_finite_ = is_finite_ ? value : non_finite_ + value;
      is_finite_ = false;
      return;
    }
    const DecodedDouble decoded = Decode(value);
    if (decoded.magnitude == 0) return;
    const int zeros = std::countr_zero(decoded.magnitude);
    const auto odd = static_cast<std::int64_t>(decoded.magnitude >> zeros);
    const int exponent = decoded.exponent + zeros + scale;
    limbs_[size_++] = {decoded.negative ? -odd : odd, exponent};
    lowest_ = std::min(lowest_, exponent);
    highest_ = std::max(highest_, decoded.exponent + scale + 64 -
                                      std::countl_zero(decoded.magnitude));
  }

  std::array<Limb, kMaxLimbs> limbs_;
  std::size_t size_ = 0;
  int lowest_ = kNone;
  int highest_ = -kNone;
  bool is_finite_ = true;
  double non_finite_ = 0;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_LIMB_COLUMN_H_
