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

Dyadic Dyadic::FromLimbs(bool negative, int low, std::vector<Limb> limbs) {
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
  const auto first = std::find_if(limbs.begin(), limbs.end(),
                                  [](Limb limb) { return limb != 0; });
  low += static_cast<int>(first - limbs.begin());
  limbs.erase(limbs.begin(), first);
  Dyadic result;
  if (limbs.empty()) return result;
  result.negative_ = negative;
  result.low_ = low;
  result.limbs_ = std::move(limbs);
  return result;
}

int Dyadic::FloorLog2() const {
  assert(!is_zero());
  return kLimbBits * (end() - 1) + BitWidth(limbs_.back()) - 1;
}

double Dyadic::LeadingBits() const {
  return std::ldexp(static_cast<double>(LeadingInteger()), -127);
}

unsigned __int128 Dyadic::LeadingInteger() const {
  assert(!is_zero());
  const int shift = kLimbBits - BitWidth(limbs_.back());
  const DoubleLimb head =
      DoubleLimb{limbs_.back()} << kLimbBits | LimbAt(end() - 2);
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
  std::vector<Limb> product(a.limbs_.size() + b.limbs_.size());
  for (std::size_t i = 0; i < a.limbs_.size(); ++i) {
    DoubleLimb carry = 0;
    for (std::size_t j = 0; j < b.limbs_.size(); ++j) {
      carry += DoubleLimb{a.limbs_[i]} * b.limbs_[j] + product[i + j];
      product[i + j] = static_cast<Limb>(carry);
      carry >>= kLimbBits;
    }
    product[i + b.limbs_.size()] = static_cast<Limb>(carry);
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
  std::vector<Limb> sum(static_cast<std::size_t>(end - low));
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
  std::vector<Limb> difference(static_cast<std::size_t>(a.end() - low));
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
