#include "server/kernel/dyadic.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <utility>

#include "server/kernel/decoded_double.h"

namespace batchnorm::kernel {
namespace {

using Limb = Dyadic::Limb;
using DoubleLimb = unsigned __int128;

constexpr int kLimbBits = 64;

// Division that rounds down, also for negative exponents.
int LimbIndex(int exponent) { return exponent >> 6; }
int BitInLimb(int exponent) { return exponent & 63; }
int BitWidth(Limb limb) { return static_cast<int>(std::bit_width(limb)); }

// magnitude * 2^exponent.
Dyadic Scaled(bool negative, Limb magnitude, int exponent) {
  const DoubleLimb shifted = DoubleLimb{magnitude} << BitInLimb(exponent);
  return Dyadic::FromLimbs(
      negative, LimbIndex(exponent),
      {static_cast<Limb>(shifted), static_cast<Limb>(shifted >> kLimbBits)});
}

}  // namespace

Dyadic Dyadic::FromInteger(std::int64_t value, int exponent) {
  const auto bits = static_cast<Limb>(value);
  return Scaled(value < 0, value < 0 ? ~bits + 1 : bits, exponent);
}

Dyadic Dyadic::FromDouble(double value) {
  assert(IsFiniteDouble(value));
  const DecodedDouble decoded = Decode(value);
  return Scaled(decoded.negative, decoded.magnitude, decoded.exponent);
}

Dyadic Dyadic::PowerOfTwo(int exponent) { return Scaled(false, 1, exponent); }

Dyadic Dyadic::FromLimbs(bool negative, int low, LimbList limbs) {
  const std::span<const Limb> all = limbs.limbs();
  std::size_t begin = 0;
  std::size_t end = all.size();
  while (end > 0 && all[end - 1] == 0) --end;
  Dyadic result;
  if (end == 0) return result;
  while (all[begin] == 0) ++begin;
  limbs.Keep(begin, end);
  result.negative_ = negative;
  result.low_ = low + static_cast<int>(begin);
  result.limbs_ = std::move(limbs);
  return result;
}

int Dyadic::FloorLog2() const {
  assert(!is_zero());
  return kLimbBits * (end() - 1) + BitWidth(LimbAt(end() - 1)) - 1;
}

double Dyadic::LeadingBits() const {
  return std::ldexp(static_cast<double>(LeadingInteger()), -127);
}

unsigned __int128 Dyadic::LeadingInteger() const {
  assert(!is_zero());
  const int shift = kLimbBits - BitWidth(LimbAt(end() - 1));
  const DoubleLimb head =
      DoubleLimb{LimbAt(end() - 1)} << kLimbBits | LimbAt(end() - 2);
  if (shift == 0) return head;
  return head << shift | LimbAt(end() - 3) >> (kLimbBits - shift);
}

Dyadic Dyadic::operator-() const {
  Dyadic result = *this;
  result.negative_ = !negative_ && !is_zero();
  return result;
}

Dyadic operator+(const Dyadic& a, const Dyadic& b) {
  if (a.negative_ == b.negative_) return Dyadic::AddMagnitudes(a, b);
  return CompareMagnitudes(a, b) >= 0 ? Dyadic::SubtractMagnitudes(a, b)
                                      : Dyadic::SubtractMagnitudes(b, a);
}

Dyadic operator-(const Dyadic& a, const Dyadic& b) { return a + -b; }

Dyadic operator*(const Dyadic& a, const Dyadic& b) {
  const std::span<const Limb> left = a.limbs();
  const std::span<const Limb> right = b.limbs();
  LimbList product(left.size() + right.size());
  const std::span<Limb> limbs = product.limbs();
  for (std::size_t i = 0; i < left.size(); ++i) {
    DoubleLimb carry = 0;
    for (std::size_t j = 0; j < right.size(); ++j) {
      carry += DoubleLimb{left[i]} * right[j] + limbs[i + j];
      limbs[i + j] = static_cast<Limb>(carry);
      carry >>= kLimbBits;
    }
    limbs[i + right.size()] = static_cast<Limb>(carry);
  }
  return Dyadic::FromLimbs(a.negative_ != b.negative_, a.low_ + b.low_,
                           std::move(product));
}

Limb Dyadic::LimbAt(int index) const {
  if (index < low_ || index >= end()) return 0;
  return limbs_[static_cast<std::size_t>(index - low_)];
}

// The sign of the sum is a's; both have it, or one is zero.
Dyadic Dyadic::AddMagnitudes(const Dyadic& a, const Dyadic& b) {
  if (a.is_zero()) return b;
  if (b.is_zero()) return a;
  const int low = std::min(a.low_, b.low_);
  const int end = std::max(a.end(), b.end()) + 1;
  LimbList sum(static_cast<std::size_t>(end - low));
  DoubleLimb carry = 0;
  for (int i = low; i < end; ++i) {
    carry += DoubleLimb{a.LimbAt(i)} + b.LimbAt(i);
    sum[static_cast<std::size_t>(i - low)] = static_cast<Limb>(carry);
    carry >>= kLimbBits;
  }
  return FromLimbs(a.negative_, low, std::move(sum));
}

Dyadic Dyadic::SubtractMagnitudes(const Dyadic& a, const Dyadic& b) {
  if (b.is_zero()) return a;
  const int low = std::min(a.low_, b.low_);
  LimbList difference(static_cast<std::size_t>(a.end() - low));
  Limb borrow = 0;
  for (int i = low; i < a.end(); ++i) {
    const DoubleLimb step =
        DoubleLimb{a.LimbAt(i)} - DoubleLimb{b.LimbAt(i)} - borrow;
    difference[static_cast<std::size_t>(i - low)] = static_cast<Limb>(step);
    borrow = static_cast<Limb>(step >> kLimbBits) & 1;
  }
  return FromLimbs(a.negative_, low, std::move(difference));
}

int CompareMagnitudes(const Dyadic& a, const Dyadic& b) {
  if (a.is_zero() || b.is_zero()) return int{!a.is_zero()} - int{!b.is_zero()};
  if (a.end() != b.end()) return a.end() < b.end() ? -1 : 1;
  const int low = std::min(a.low_, b.low_);
  for (int i = a.end() - 1; i >= low; --i) {
    const Limb left = a.LimbAt(i);
    const Limb right = b.LimbAt(i);
    if (left != right) return left < right ? -1 : 1;
  }
  return 0;
}

}  // namespace batchnorm::kernel
