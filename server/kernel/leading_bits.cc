#include "server/kernel/leading_bits.h"

#include <bit>
#include <cassert>
#include <cstddef>

#include "server/kernel/certificate.h"

namespace batchnorm::kernel {
namespace {

constexpr int kDigitBits = 32;
constexpr std::uint64_t kDigitMask = 0xffffffff;

// Reads digits from the lowest on, each brought into [0, 2^32).
class Carry {
 public:
  explicit Carry(bool negate) : sign_(negate ? -1 : 0) {}

  std::uint64_t Next(std::int64_t digit) {
    carry_ += (digit ^ sign_) - sign_;
    const auto bits = static_cast<std::uint64_t>(carry_) & kDigitMask;
    carry_ >>= kDigitBits;
    return bits;
  }
  std::int64_t left() const { return carry_; }

 private:
  std::int64_t sign_;
  std::int64_t carry_ = 0;
};

// How many digits the number has, negated if `negate`; what is carried out of
// the last one is one more. Negative if the number is.
std::ptrdiff_t CountDigits(std::span<const std::int64_t> digits, bool negate) {
  Carry carry(negate);
  std::size_t size = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (carry.Next(digits[i]) != 0) size = i + 1;
  }
  if (carry.left() < 0) return -1;
  return static_cast<std::ptrdiff_t>(carry.left() > 0 ? digits.size() + 1
                                                      : size);
}

// The last six digits of so many, and whether those before are 0.
struct LastDigits {
  static constexpr std::size_t kSize = 6;

  LastDigits(std::span<const std::int64_t> digits, bool negate,
             std::size_t size) {
    Carry carry(negate);
    for (std::size_t i = 0; i < size; ++i) {
      const auto digit = carry.Next(i < digits.size() ? digits[i] : 0);
      if (i + kSize < size) {
        before |= digit;
      } else {
        last[i + kSize - size] = digit;
      }
    }
  }

  // Two digits, with the index of the lower one.
  std::uint64_t Pair(std::size_t i) const {
    return last[i + 1] << kDigitBits | last[i];
  }

  std::uint64_t before = 0;
  std::array<std::uint64_t, kSize> last = {};
};

// part * 2^shift, with the first bits of what is below. REQUIRES: shift < 64.
std::uint64_t MovedUp(std::uint64_t part, std::uint64_t below, int shift) {
  return shift == 0 ? part : part << shift | below >> (64 - shift);
}

}  // namespace

LeadingBits::LeadingBits(bool is_negative_, std::uint64_t high,
                         std::uint64_t middle, std::uint64_t last, int lowest,
                         bool has_more)
    : is_negative(is_negative_) {
  constexpr std::uint64_t kLimbMask = (std::uint64_t{1} << kLimbBits) - 1;
  constexpr int kLeft = 3 * 64 - kBits;
  assert(high >> 63 == 1);
  limbs = {high >> 11, (high << 42 | middle >> 22) & kLimbMask,
           (middle << 31 | last >> kLeft) & kLimbMask};
  is_all = !has_more && last << (64 - kLeft) == 0;
  exponent = lowest + kLeft;
}

LeadingBits LeadingBits::OfDigits(std::span<const std::int64_t> digits,
                                  int low) {
  std::ptrdiff_t size = CountDigits(digits, false);
  const bool is_negative = size < 0;
  if (is_negative) size = CountDigits(digits, true);
  if (size == 0) return {};
  const LastDigits digit(digits, is_negative, static_cast<std::size_t>(size));
  const int shift = std::countl_zero(digit.Pair(4));
  const int lowest = low + kDigitBits * (static_cast<int>(size) - 6) - shift;
  return {is_negative,
          MovedUp(digit.Pair(4), digit.Pair(2), shift),
          MovedUp(digit.Pair(2), digit.Pair(0), shift),
          digit.Pair(0) << shift,
          lowest,
          digit.before != 0};
}

LeadingBits LeadingBits::OfLimbs(bool is_negative, int low,
                                 std::span<const std::uint64_t> limbs) {
  if (limbs.empty()) return {};
  const auto from_top = [&](std::size_t i) {
    return i < limbs.size() ? limbs[limbs.size() - 1 - i] : 0;
  };
  const int shift = std::countl_zero(from_top(0));
  const int lowest = 64 * (low + static_cast<int>(limbs.size()) - 3) - shift;
  bool has_more = from_top(3) << shift != 0;
  for (std::size_t i = 4; i < limbs.size(); ++i) has_more |= from_top(i) != 0;
  return {is_negative,
          MovedUp(from_top(0), from_top(1), shift),
          MovedUp(from_top(1), from_top(2), shift),
          MovedUp(from_top(2), from_top(3), shift),
          lowest,
          has_more};
}

int LeadingBits::LowestBit() const {
  assert(!is_zero());
  std::size_t i = limbs.size() - 1;
  while (limbs[i] == 0) --i;
  return exponent + kLimbBits * static_cast<int>(limbs.size() - 1 - i) +
         std::countr_zero(limbs[i]);
}

double LeadingBits::Limb(std::size_t i, int unit) const {
  const int at = exponent + kLimbBits * static_cast<int>(limbs.size() - 1 - i);
  const auto magnitude = static_cast<double>(limbs[i]);
  return (is_negative ? -magnitude : magnitude) * PowerOfTwoDouble(at - unit);
}

}  // namespace batchnorm::kernel
