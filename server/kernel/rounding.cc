#include "server/kernel/rounding.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>

#include "server/kernel/quick_rounding.h"

namespace batchnorm::kernel {
namespace {

constexpr int kMaxExponent = 1023;
constexpr int kMinQuantum = -1074;  // of the smallest double

// The exponent of the last bit of a double in [2^exponent, 2^(exponent+1)).
int QuantumOf(int exponent) { return std::max(exponent - 52, kMinQuantum); }

int FloorLog2Quotient(const Dyadic& a, const Dyadic& b) {
  const int guess = a.FloorLog2() - b.FloorLog2();
  const auto head_of_a = a.LeadingInteger();
  const auto head_of_b = b.LeadingInteger();
  const bool reached =
      head_of_a != head_of_b
          ? head_of_a > head_of_b
          : CompareMagnitudes(a, b * Dyadic::PowerOfTwo(guess)) >= 0;
  return reached ? guess : guess - 1;
}

// half_steps * 2^(quantum - 1): the doubles and the midpoints between them.
Dyadic HalfSteps(std::int64_t half_steps, int quantum) {
  return Dyadic::FromInteger(half_steps, quantum - 1);
}

// The integer nearest to a real number v, ties to even, from a guess at most a
// few off. compare(h) has the sign of v - h/2 and decides exactly, so the guess
// may be made in any arithmetic.
template <typename Compare>
std::int64_t NearestInteger(std::int64_t guess, Compare compare) {
  const auto beyond = [&](std::int64_t integer, int side) {
    const int sign = side * compare(2 * integer + side);
    return sign > 0 || (sign == 0 && integer % 2 != 0);
  };
  while (beyond(guess, +1)) ++guess;
  while (guess > 0 && beyond(guess, -1)) --guess;
  return guess;
}

double Signed(bool negative, double magnitude) {
  return negative ? -magnitude : magnitude;
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

double Round(const Dyadic& a) {
  return RoundQuotient(a, Dyadic::PowerOfTwo(0));
}

double RoundQuotient(const Dyadic& a, const Dyadic& b) {
  assert(!b.is_zero());
  if (a.is_zero()) return 0.0;
  const bool negative = a.is_negative() != b.is_negative();
  if (const auto quick = QuickQuotient(a, b)) return Signed(negative, *quick);
  const int exponent = FloorLog2Quotient(a, b);
  if (exponent > kMaxExponent) return Signed(negative, kInfinity);
  const int quantum = QuantumOf(exponent);

  const double guess = std::ldexp(a.LeadingBits() / b.LeadingBits(),
                                  a.FloorLog2() - b.FloorLog2() - quantum);
  const auto compare = [&](std::int64_t half_steps) {
    return CompareMagnitudes(a, b * HalfSteps(half_steps, quantum));
  };
  const std::int64_t steps =
      NearestInteger(static_cast<std::int64_t>(guess), compare);
  return Signed(negative, std::ldexp(static_cast<double>(steps), quantum));
}

double RoundSqrtQuotient(const Dyadic& a, const Dyadic& b) {
  assert(!a.is_negative() && !b.is_negative() && !b.is_zero());
  if (a.is_zero()) return 0.0;
  if (const auto quick = QuickSqrtQuotient(a, b)) return *quick;
  const int exponent = FloorLog2SqrtQuotient(a, b);
  if (exponent > kMaxExponent) return kInfinity;
  const int quantum = QuantumOf(exponent);

  // (a/b) * 4^-quantum has an exponent of the parity of a's less b's.
  const int log2 = a.FloorLog2() - b.FloorLog2();
  const double ratio = a.LeadingBits() / b.LeadingBits() * (log2 & 1 ? 2 : 1);
  const double guess = std::ldexp(std::sqrt(ratio), (log2 >> 1) - quantum);
  const auto compare = [&](std::int64_t half_steps) {
    const Dyadic bound = HalfSteps(half_steps, quantum);
    return CompareMagnitudes(a, b * (bound * bound));
  };
  const std::int64_t steps =
      NearestInteger(static_cast<std::int64_t>(guess), compare);
  return std::ldexp(static_cast<double>(steps), quantum);
}

int FloorLog2SqrtQuotient(const Dyadic& a, const Dyadic& b) {
  return FloorLog2Quotient(a, b) >> 1;
}

}  // namespace batchnorm::kernel
