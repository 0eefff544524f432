// Exact numbers of the form integer * 2^exponent, of any size.
//
// Sums, products and differences of doubles are such numbers, so whatever the
// kernel derives from its exact sums stays exact until one rounding at the end
// (rounding.h). Values are small: two to five limbs for ordinary f32 data.
// A value type; thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_DYADIC_H_
#define BATCHNORMD_SERVER_KERNEL_DYADIC_H_

#include <cstdint>
#include <span>

#include "server/kernel/limb_list.h"

namespace batchnorm::kernel {

class Dyadic {
 public:
  using Limb = LimbList::Limb;

  Dyadic() = default;  // 0

  // value * 2^exponent.
  static Dyadic FromInteger(std::int64_t value, int exponent = 0);
  // REQUIRES: value is finite.
  static Dyadic FromDouble(double value);
  static Dyadic PowerOfTwo(int exponent);
  // The sum of limbs[i] * 2^(64 * (low + i)), negated if `negative`.
  static Dyadic FromLimbs(bool negative, int low, LimbList limbs);

  bool is_zero() const { return limbs_.empty(); }
  bool is_negative() const { return negative_; }

  // The canonical limbs of the magnitude, as in FromLimbs: neither the first
  // nor the last is 0, and 0 has none.
  int low() const { return low_; }
  std::span<const Limb> limbs() const { return limbs_.limbs(); }

  // floor(log2(|value|)). REQUIRES: not zero.
  int FloorLog2() const;
  // |value| / 2^FloorLog2(), to about 52 bits. REQUIRES: not zero.
  double LeadingBits() const;
  // floor(|value| / 2^(FloorLog2() - 127)): 128 bits, the first of which is 1.
  // REQUIRES: not zero.
  unsigned __int128 LeadingInteger() const;

  Dyadic operator-() const;
  friend Dyadic operator+(const Dyadic& a, const Dyadic& b);
  friend Dyadic operator-(const Dyadic& a, const Dyadic& b);
  friend Dyadic operator*(const Dyadic& a, const Dyadic& b);
  friend bool operator==(const Dyadic& a, const Dyadic& b) = default;

 private:
  // The limb of weight 2^(64 * index), 0 outside.
  Limb LimbAt(int index) const;
  int end() const { return low_ + static_cast<int>(limbs_.size()); }

  static Dyadic AddMagnitudes(const Dyadic& a, const Dyadic& b);
  // REQUIRES: |a| >= |b|.
  static Dyadic SubtractMagnitudes(const Dyadic& a, const Dyadic& b);
  friend int CompareMagnitudes(const Dyadic& a, const Dyadic& b);

  bool negative_ = false;
  int low_ = 0;
  LimbList limbs_;  // least significant first
};

// Negative, 0 or positive as |a| < |b|, |a| = |b|, |a| > |b|.
int CompareMagnitudes(const Dyadic& a, const Dyadic& b);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_DYADIC_H_
