// The exact sum of any doubles and products of doubles.
//
// A fixed-point number in base 2^32 whose digits lie in int64, so that carries
// may wait: a value is added by three integer additions. It has room for the
// digits that its values have touched, and grows on demand. Nothing is ever
// rounded, hence the value depends on the multiset of addends alone, not on
// their order or grouping (README.md, "Exact sums").
// A value type; thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_EXACT_SUM_H_
#define BATCHNORMD_SERVER_KERNEL_EXACT_SUM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/kernel/decoded_double.h"
#include "server/kernel/dyadic.h"
#include "server/kernel/leading_bits.h"

namespace batchnorm::kernel {

class ExactSum {
 public:
  // What the sum is, as an extended real number. Infinities and NaN stay,
  // whatever is added: Inf - Inf is NaN, as in IEEE arithmetic.
  enum class Kind : std::uint8_t { kFinite, kPlusInf, kMinusInf, kNan };

  ExactSum() = default;  // 0
  // 0, with room set aside for multiples of 2^low below 2^high.
  ExactSum(int low, int high);
  static ExactSum FromDyadic(const Dyadic& value);
  // REQUIRES: value is infinite or NaN.
  static ExactSum FromNonFinite(double value);

  void Add(double value);
  // Adds a*b exactly, also where a*b is not a double. Inf * 0 is NaN.
  void AddProduct(double a, double b);
  // Adds value * 2^exponent.
  using Wide = __int128;
  void AddScaled(Wide value, int exponent);
  void AddScaled(std::int64_t value, int exponent);
  void Merge(const ExactSum& part);

  // Whether nothing was ever added, but zeros.
  bool is_untouched() const { return is_finite() && digits_.empty(); }
  bool is_finite() const { return kind_ == Kind::kFinite; }
  Kind kind() const { return kind_; }
  // REQUIRES: is_finite().
  Dyadic Value() const;
  LeadingBits Leading() const;
  // The nearest double; +0, not -0; an infinity or NaN if not finite.
  double ToDouble() const;

 private:
  static constexpr int kDigitBits = 32;
  static constexpr std::uint64_t kDigitMask = 0xffffffff;
  // An addition moves a digit by less than 2^33. After this many, or after a
  // merge of as many more, it is still below 2^63.
  static constexpr std::uint32_t kMaxPending = 1u << 29;

  // Adds magnitude * 2^exponent, negated if `negative`.
  void AddInteger(std::uint64_t magnitude, int exponent, bool negative);
  void AddNonFinite(double value);
  void Become(Kind kind);
  // Makes room for digits from that of 2^exponent up to that of 2^(end-1).
  void Cover(int exponent, int end);
  // Brings every digit but the last into [0, 2^32), the last into 32 bits.
  void Carry();

  std::vector<std::int64_t> digits_;  // digits_[i] has weight 2^(low_ + 32*i)
  int low_ = 0;                       // a multiple of 32
  std::uint32_t pending_ = 0;         // additions since the last Carry
  Kind kind_ = Kind::kFinite;
};

// Inlined: the inner loop of every pass over a tensor.

inline void ExactSum::Add(double value) {
  if (!IsFiniteDouble(value)) [[unlikely]] {
    return AddNonFinite(value);
  }
  const DecodedDouble decoded = Decode(value);
  AddInteger(decoded.magnitude, decoded.exponent, decoded.negative);
}

inline void ExactSum::AddScaled(std::int64_t value, int exponent) {
  if (value == 0 || !is_finite()) return;
  const auto bits = static_cast<std::uint64_t>(value);
  AddInteger(value < 0 ? -bits : bits, exponent, value < 0);
}

inline void ExactSum::AddInteger(std::uint64_t magnitude, int exponent,
                                 bool negative) {
  // A zero may go anywhere: the mask saves a branch that data with many zeros,
  // as after a ReLU, would mispredict. Exponents below low_ wrap around.
  const std::uint32_t mask = magnitude == 0 ? 0 : ~std::uint32_t{0};
  auto offset = static_cast<std::uint32_t>(exponent - low_) & mask;
  if (offset / kDigitBits + 2 >= digits_.size()) [[unlikely]] {
    if (magnitude == 0) return;
    Cover(exponent, exponent + 3 * kDigitBits);
    offset = static_cast<std::uint32_t>(exponent - low_);
  }
  const std::uint32_t shift = offset % kDigitBits;
  const std::uint64_t low = (magnitude & kDigitMask) << shift;
  const std::uint64_t high = (magnitude >> kDigitBits) << shift;
  const std::int64_t sign = negative ? -1 : 0;  // (v ^ -1) - -1 is -v
  const auto add = [sign](std::int64_t& digit, std::uint64_t amount) {
    digit += (static_cast<std::int64_t>(amount) ^ sign) - sign;
  };
  std::int64_t* digit = digits_.data() + offset / kDigitBits;
  add(digit[0], low & kDigitMask);
  add(digit[1], (low >> kDigitBits) + (high & kDigitMask));
  add(digit[2], high >> kDigitBits);
  if (++pending_ >= kMaxPending) [[unlikely]] {
    Carry();
  }
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_EXACT_SUM_H_
