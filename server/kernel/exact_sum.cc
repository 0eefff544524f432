#include "server/kernel/exact_sum.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "server/kernel/rounding.h"

namespace batchnorm::kernel {
namespace {

using ProductBits = unsigned __int128;

constexpr int RoundDown(int exponent, int multiple) {
  return exponent - ((exponent % multiple) + multiple) % multiple;
}

// Of an integer in two's complement.
void Negate(std::span<Dyadic::Limb> limbs) {
  bool carries = true;
  for (Dyadic::Limb& limb : limbs) {
    limb = ~limb + (carries ? 1 : 0);
    carries = carries && limb == 0;
  }
}

}  // namespace

ExactSum::ExactSum(int low, int high)
    : digits_(static_cast<std::size_t>(
          (high - RoundDown(low, kDigitBits)) / kDigitBits + 3)),
      low_(RoundDown(low, kDigitBits)) {}

ExactSum ExactSum::FromDyadic(const Dyadic& value) {
  ExactSum sum;
  if (value.is_zero()) return sum;
  const std::int64_t sign = value.is_negative() ? -1 : 1;
  sum.low_ = 2 * kDigitBits * value.low();
  for (const Dyadic::Limb limb : value.limbs()) {
    sum.digits_.push_back(sign * static_cast<std::int64_t>(limb & kDigitMask));
    sum.digits_.push_back(sign * static_cast<std::int64_t>(limb >> kDigitBits));
  }
  sum.pending_ = 1;
  return sum;
}

ExactSum ExactSum::FromNonFinite(double value) {
  ExactSum sum;
  sum.AddNonFinite(value);
  return sum;
}

void ExactSum::AddProduct(double a, double b) {
  if (!IsFiniteDouble(a) || !IsFiniteDouble(b)) return AddNonFinite(a * b);
  const DecodedDouble left = Decode(a);
  const DecodedDouble right = Decode(b);
  const ProductBits product = ProductBits{left.magnitude} * right.magnitude;
  const int exponent = left.exponent + right.exponent;
  const bool negative = left.negative != right.negative;
  AddInteger(static_cast<std::uint64_t>(product), exponent, negative);
  AddInteger(static_cast<std::uint64_t>(product >> 64), exponent + 64,
             negative);
}

void ExactSum::AddScaled(Wide value, int exponent) {
  if (value == 0 || !is_finite()) return;
  const bool negative = value < 0;
  const auto bits = static_cast<ProductBits>(value);
  const ProductBits magnitude = negative ? -bits : bits;
  AddInteger(static_cast<std::uint64_t>(magnitude), exponent, negative);
  AddInteger(static_cast<std::uint64_t>(magnitude >> 64), exponent + 64,
             negative);
}

void ExactSum::Merge(const ExactSum& part) {
  if (!part.is_finite()) return Become(part.kind_);
  if (part.digits_.empty()) return;
  if (pending_ + part.pending_ + 1 >= kMaxPending) Carry();
  const int part_end =
      part.low_ + kDigitBits * static_cast<int>(part.digits_.size());
  Cover(part.low_, part_end);
  std::int64_t* digit = digits_.data() + (part.low_ - low_) / kDigitBits;
  for (const std::int64_t addend : part.digits_) *digit++ += addend;
  pending_ += part.pending_ + 1;
}

Dyadic ExactSum::Value() const {
  assert(is_finite());
  // Limbs hold two digits; an odd low_ begins in the middle of one. What is
  // carried out of the last digit is the sign, in two's complement.
  const int low_digit = low_ / kDigitBits;
  const auto before = static_cast<std::size_t>(low_digit & 1);
  LimbList list(digits_.size() / 2 + 2);
  const std::span<Dyadic::Limb> limbs = list.limbs();
  std::int64_t carry = 0;
  for (std::size_t at = before; at < 2 * limbs.size(); ++at) {
    const std::size_t i = at - before;
    if (i < digits_.size()) carry += digits_[i];
    limbs[at / 2] |= (static_cast<Dyadic::Limb>(carry) & kDigitMask)
                     << (at % 2 * kDigitBits);
    carry >>= kDigitBits;
  }
  const bool negative = carry < 0;
  if (negative) Negate(limbs);
  return Dyadic::FromLimbs(negative, low_digit >> 1, std::move(list));
}

LeadingBits ExactSum::Leading() const {
  assert(is_finite());
  return LeadingBits::OfDigits(digits_, low_);
}

double ExactSum::ToDouble() const {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (kind_) {
    case Kind::kFinite:
      return Round(Value());
    case Kind::kPlusInf:
      return kInfinity;
    case Kind::kMinusInf:
      return -kInfinity;
    case Kind::kNan:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

void ExactSum::AddNonFinite(double value) {
  assert(!IsFiniteDouble(value));
  if (std::isnan(value)) return Become(Kind::kNan);
  Become(value > 0 ? Kind::kPlusInf : Kind::kMinusInf);
}

void ExactSum::Become(Kind kind) {
  kind_ = is_finite() || kind_ == kind ? kind : Kind::kNan;
}

void ExactSum::Cover(int exponent, int end) {
  const int wanted_low = RoundDown(exponent, kDigitBits);
  if (digits_.empty()) low_ = wanted_low;
  if (wanted_low < low_) {
    const int missing = (low_ - wanted_low) / kDigitBits;
    digits_.insert(digits_.begin(), static_cast<std::size_t>(missing), 0);
    low_ = wanted_low;
  }
  const auto wanted =
      static_cast<std::size_t>((end - low_ + kDigitBits - 1) / kDigitBits);
  if (wanted > digits_.size()) digits_.resize(wanted);
}

void ExactSum::Carry() {
  pending_ = 0;
  for (std::size_t i = 0; i < digits_.size(); ++i) {
    const std::int64_t carry = digits_[i] >> kDigitBits;
    const bool last = i + 1 == digits_.size();
    // The last digit keeps the sign, in 32 bits of its own.
    if (last && digits_[i] == static_cast<std::int32_t>(digits_[i])) return;
    digits_[i] -= carry * (std::int64_t{1} << kDigitBits);
    if (last) {
      digits_.push_back(carry);
    } else {
      digits_[i + 1] += carry;
    }
  }
}

}  // namespace batchnorm::kernel
