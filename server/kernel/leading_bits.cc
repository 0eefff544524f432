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

}  // namespace

LeadingBits LeadingBits::OfDigits(std::span<const std::int64_t> digits,
                                  int low) {
  LeadingBits bits;
  std::ptrdiff_t size = CountDigits(digits, false);
  if (size < 0) {
    bits.is_negative = true;
    size = CountDigits(digits, true);
  }
  if (size == 0) return bits;
  const LastDigits digit(digits, bits.is_negative,
                         static_cast<std::size_t>(size));
  // 192 bits, moved up so that the first one is 1.
  const int shift = std::countl_zero(digit.Pair(4));
  const auto moved = [&](std::uint64_t part, std::uint64_t below) {
    return shift == 0 ? part : part << shift | below >> (64 - shift);
  };
  const std::uint64_t high = moved(digit.Pair(4), digit.Pair(2));
  const std::uint64_t middle = moved(digit.Pair(2), digit.Pair(0));
  const std::uint64_t last = moved(digit.Pair(0), 0);
  constexpr std::uint64_t kLimbMask = (std::uint64_t{1} << kLimbBits) - 1;
  constexpr int kLeft = 192 - kBits;
  bits.limbs = {high >> 11, (high << 42 | middle >> 22) & kLimbMask,
                (middle << 31 | last >> kLeft) & kLimbMask};
  const std::uint64_t left = last & ((std::uint64_t{1} << kLeft) - 1);
  bits.is_all = (left | digit.before) == 0;
  const int lowest = low + kDigitBits * (static_cast<int>(size) - 6);
  bits.exponent = lowest - shift + kLeft;
  return bits;
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
