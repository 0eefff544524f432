#include "server/kernel/quick_rounding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace batchnorm::kernel {
namespace {

using Bits = std::uint64_t;
using WideBits = unsigned __int128;

constexpr Bits kMostBits = std::numeric_limits<Bits>::max();

int Width(Bits bits) { return static_cast<int>(std::bit_width(bits)); }

// A positive number that is less than `doubt` away from bits, times 2^exponent.
// The first or the second of the bits is 1.
struct Estimate {
  Bits bits;
  int exponent;
  Bits doubt;
};

// |a / b|. With a' = |a| / 2^(FloorLog2(a) - 126) in [A, A + 1) for a number A
// of 127 bits, and b' = |b| / 2^(FloorLog2(b) - 63) in [B, B + 1) for one of
// 64,
//
//     A/B - A/B/(B + 1) = A/(B + 1) < a'/b' < (A + 1)/B,
//
// and A/B < 2^64 <= 2*B: a'/b' is within 2 of the integer below A/B.
Estimate Quotient(const Dyadic& a, const Dyadic& b) {
  const WideBits numerator = a.LeadingInteger() >> 1;
  const auto denominator = static_cast<Bits>(b.LeadingInteger() >> 64);
  return {.bits = static_cast<Bits>(numerator / denominator),
          .exponent = a.FloorLog2() - b.FloorLog2() - 63,
          .doubt = 2};
}

// sqrt(square), within 1: one step of Newton's method, from a guess that has
// some fifty bits. REQUIRES: square >= 2^125.
Bits SquareRoot(WideBits square) {
  const double root = std::sqrt(static_cast<double>(square));
  const Bits guess = root < 0x1p64 ? static_cast<Bits>(root) : kMostBits;
  const auto rest =
      static_cast<__int128>(square - WideBits{guess} * WideBits{guess});
  const double step = static_cast<double>(rest) / (2 * root);
  return guess + static_cast<Bits>(static_cast<std::int64_t>(step));
}

// The root of an estimate v with doubt 2: of v * 2^64, or of v * 2^63 where
// that leaves an even exponent, errs by 2 * 2^64 / (2 * 2^62.5), less than 3.
Estimate Root(const Estimate& square) {
  const int shift = square.exponent % 2 == 0 ? 64 : 63;
  return {.bits = SquareRoot(WideBits{square.bits} << shift),
          .exponent = (square.exponent - shift) / 2,
          .doubt = 4};
}

// The nearest double, if that of all numbers within the doubt is the same one.
std::optional<double> Nearest(const Estimate& v) {
  constexpr int kLeastQuantum = -1074;  // of the smallest double
  constexpr int kGreatestExponent = 1000;
  constexpr int kMostDropped = 60;
  if (v.bits > kMostBits - v.doubt) return std::nullopt;
  const int width = Width(v.bits);
  if (Width(v.bits - v.doubt) != width || Width(v.bits + v.doubt) != width) {
    return std::nullopt;  // on both sides of a power of two
  }
  const int exponent = v.exponent + width - 1;
  const int quantum = std::max(exponent - 52, kLeastQuantum);
  const int dropped = quantum - v.exponent;
  if (exponent > kGreatestExponent || dropped > kMostDropped) {
    return std::nullopt;
  }
  const Bits half = Bits{1} << (dropped - 1);
  const Bits rest = v.bits & (2 * half - 1);
  const bool is_doubtful = rest > half - v.doubt && rest < half + v.doubt;
  if (is_doubtful) return std::nullopt;
  const Bits steps = (v.bits >> dropped) + (rest > half ? 1 : 0);
  return std::ldexp(static_cast<double>(steps), quantum);
}

}  // namespace

std::optional<double> QuickQuotient(const Dyadic& a, const Dyadic& b) {
  return Nearest(Quotient(a, b));
}

std::optional<double> QuickSqrtQuotient(const Dyadic& a, const Dyadic& b) {
  return Nearest(Root(Quotient(a, b)));
}

}  // namespace batchnorm::kernel
