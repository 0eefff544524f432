// When plain double arithmetic is exact: the scales of one channel.
//
// README.md, "Exact at memory speed", proves what is stated here. A channel has
// a predicted binade E ("top"): its values are expected to satisfy
//
//   |x| < 2^(E+1)   and   x is a multiple of  q = 2^(E - kRange - p + 1),
//
// p being the significand bits of the dtype. A lane then adds at most
// 2^kLaneBits values to accumulators that start at half-way points of binades,
// so that every addition is a multiple of a known unit and the accumulator's
// bits, less those it started with, are an integer. The prediction is free to
// be wrong: a block is used only if its values are found to satisfy the above,
// or the processor says that nothing was rounded (arithmetic_flag-inl.h).
#ifndef BATCHNORMD_SERVER_KERNEL_CERTIFICATE_H_
#define BATCHNORMD_SERVER_KERNEL_CERTIFICATE_H_

#include <bit>
#include <cstdint>
#include <limits>

#include "server/kernel/element_format.h"

namespace batchnorm::kernel {

// 2^exponent. REQUIRES: -1022 <= exponent <= 1023.
constexpr double PowerOfTwoDouble(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023)
                               << 52);
}

constexpr float PowerOfTwoFloat(int exponent) {  // -126 to 127
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

// An accumulator of multiples of 2^unit, at most 2^51 of them either way.
constexpr double MiddleOf(int unit) {
  return 1.5 * PowerOfTwoDouble(52 + unit);
}

// Where a sum of squares that starts at 2^52 units must stay below: the end of
// the binade, but for what is left for roundings.
constexpr double SquaresLimitOf(int unit) {
  return (2 - 0x1p-20) * PowerOfTwoDouble(52 + unit);
}

template <Dtype kDtype>
struct Certificate {
  using Format = ElementFormat<kDtype>;
  using Bits = typename Format::Bits;
  static constexpr bool kWide = kDtype == Dtype::kF64;

  // A lane adds at most 2^kLaneBits values to one accumulator.
  static constexpr int kLaneBits = kWide ? 5 : 6;
  static constexpr int kLaneAdds = 1 << kLaneBits;
  // Binades between the top and the smallest value of a certified block.
  static constexpr int kRange =
      kWide ? 19 : 51 - Format::kPrecision - kLaneBits;
  static constexpr int kUnitBelowTop = kRange + Format::kPrecision - 1;

  // The tops for which all of the below are normal doubles, and 2^(top + 1) is
  // a normal number of the dtype: subnormals have the least top.
  static constexpr int kLeastTop = kWide ? -450 : -Format::kBias;
  static constexpr int kGreatestTop = kWide ? 500 : 200;

  static constexpr int UnitOf(int top) { return top - kUnitBelowTop; }
  // One binade above `bits` taken as a magnitude.
  static constexpr int TopOf(Bits magnitude) {
    return static_cast<int>(magnitude >> (Format::kPrecision - 1)) -
           Format::kBias;
  }

  // What a magnitude, doubled, must be below, to be below 2^(top + 1).
  static constexpr Bits DoubledBound(int top) {
    return DoubledBits(top + 1 + Format::kBias);
  }
  // What a magnitude, doubled and less 1, must reach, to be 0 or at least
  // 2^(top - range), and hence a multiple of 2^(top - range - kPrecision + 1),
  // which is 2^UnitOf(top) for kRange. Subnormals are multiples of the smallest
  // number, which is why 0 will do below.
  static constexpr Bits DoubledLeast(int top, int range = kRange) {
    const int field = top - range + Format::kBias;
    return field <= 1 ? Bits{0} : static_cast<Bits>(DoubledBits(field) - 1);
  }

 private:
  // Twice the bits of a number with this exponent field and no fraction.
  static constexpr Bits DoubledBits(int field) {
    constexpr int kInfinity =
        (1 << (8 * int{sizeof(Bits)} - Format::kPrecision)) - 1;
    if (field <= 0) return 0;
    if (field > kInfinity) field = kInfinity;
    return static_cast<Bits>(static_cast<Bits>(field) << Format::kPrecision);
  }
};

// What certifies the values of a top where the processor's underflow flag tells
// whether they are multiples of the unit (unit_probe-inl.h). Their squares are
// added in floats, rounded, from `squares` on; what a lane adds to that stays
// below `squares_bound` only if their exact sum is less than 2^(2 top + 8).
struct ProbeScale {
  // 2^-149 less the unit, a normal float, and so are the squares.
  static constexpr int kGreatestTop = 21;
  static constexpr int kLeastTop = -63;

  float factor;
  float squares;
  float squares_bound;

  static constexpr bool Exists(int top) {
    return kLeastTop <= top && top <= kGreatestTop;
  }
  // REQUIRES: Exists(top), and narrow elements.
  static constexpr ProbeScale Of(int top) {
    const int unit = Certificate<Dtype::kF32>::UnitOf(top);
    const float squares = PowerOfTwoFloat(2 * top);
    return {PowerOfTwoFloat(-149 - unit), squares, kBound * squares};
  }

 private:
  // 64 sums err by less than 64 * 2^-24 of the last, which is left free, and
  // more.
  static constexpr float kBound = 255.75F;
};

// The start of a lane's accumulators, and what certifies them afterwards.
// `rest`, `sum_rest`, `error` and `error_rest` take what the upper ones round
// off; narrow dtypes need only the first of them.
template <Dtype kDtype>
struct LaneScale {
  using Bits = typename ElementFormat<kDtype>::Bits;

  double sum;             // sum(a)
  double top;             // sum(a*b), upper slice
  double rest;            // its lower slice
  double sum_rest;        // wide: lower slice of sum(a)
  double error;           // wide: what a*b loses in a double, upper slice
  double error_rest;      // and its lower slice
  double top_limit;       // squares: the upper slice must stay below
  Bits a_bound, a_least;  // as Certificate::DoubledBound, DoubledLeast
  Bits b_bound, b_least;
  bool is_probed;  // narrow: whether these exist
  ProbeScale a_probe;
  ProbeScale b_probe;
};

// Sums of products: with a = b (`kSquares`, forward) or two tensors. Units are
// stated as exponents, relative to the tops of the factors.
template <Dtype kDtype, bool kSquares>
struct ProductCertificate {
  using C = Certificate<kDtype>;

  static constexpr int kLeastUnitBelowTop = 2 * C::kUnitBelowTop;
  // Squares are not negative and use the lower half of a binade from its
  // beginning on. Other products start in the middle; wide ones, which are
  // rounded before they are added, keep a bit more free.
  static constexpr int kTopUnitBelowTop = (kSquares   ? 50
                                           : C::kWide ? 48
                                                      : 49) -
                                          C::kLaneBits;
  static constexpr int kTopShift = kLeastUnitBelowTop - kTopUnitBelowTop;
  // Squares of narrow elements: binades between the top and the smallest value
  // of those whose squares are multiples of the upper slice's unit.
  static constexpr int kUpperRange =
      kTopUnitBelowTop / 2 - C::Format::kPrecision + 1;

  // Wide only: the upper slice of sum(a), the lower slice of the rounded
  // products, and the upper slice of their errors.
  static constexpr int kSumUnitBelowTop =
      C::kWide ? 49 - C::kLaneBits : C::kUnitBelowTop;
  static constexpr int kSumShift = C::kUnitBelowTop - kSumUnitBelowTop;
  static constexpr int kRestUnitBelowTop =
      C::kWide ? 2 * C::kRange + 52 : kLeastUnitBelowTop;
  static constexpr int kRestShift = kLeastUnitBelowTop - kRestUnitBelowTop;
  static constexpr int kErrorUnitBelowTop = 102 - C::kLaneBits;
  static constexpr int kErrorShift = kLeastUnitBelowTop - kErrorUnitBelowTop;

  static constexpr int kMaxLaneAdds = C::kLaneAdds;

  static constexpr LaneScale<kDtype> Scale(int a_top, int b_top) {
    const int product = a_top + b_top;
    LaneScale<kDtype> scale = {};
    scale.sum = MiddleOf(a_top - kSumUnitBelowTop);
    scale.top = kSquares ? PowerOfTwoDouble(52 + product - kTopUnitBelowTop)
                         : MiddleOf(product - kTopUnitBelowTop);
    scale.top_limit = SquaresLimitOf(product - kTopUnitBelowTop);
    scale.rest = MiddleOf(product - kRestUnitBelowTop);
    if constexpr (C::kWide) {
      scale.sum_rest = MiddleOf(a_top - C::kUnitBelowTop);
      scale.error = MiddleOf(product - kErrorUnitBelowTop);
      scale.error_rest = MiddleOf(product - kLeastUnitBelowTop);
    }
    scale.a_bound = C::DoubledBound(a_top);
    scale.a_least = C::DoubledLeast(a_top);
    scale.b_bound = C::DoubledBound(b_top);
    scale.b_least = C::DoubledLeast(b_top);
    if (ProbeScale::Exists(a_top) && ProbeScale::Exists(b_top)) {
      scale.is_probed = true;
      scale.a_probe = ProbeScale::Of(a_top);
      scale.b_probe = ProbeScale::Of(b_top);
    }
    return scale;
  }
};

// What a channel's integers sum: products of one tensor with itself or of two,
// of narrow elements (f16, bf16, f32, which share their units) or of f64.
enum class SumKind : std::uint8_t {
  kNone,
  kNarrowSquares,
  kNarrowProducts,
  kWideSquares,
  kWideProducts,
};

template <Dtype kDtype, bool kSquares>
constexpr SumKind SumKindOf() {
  if (Certificate<kDtype>::kWide) {
    return kSquares ? SumKind::kWideSquares : SumKind::kWideProducts;
  }
  return kSquares ? SumKind::kNarrowSquares : SumKind::kNarrowProducts;
}

struct SumKindUnits {
  int unit_below_top;  // of sum(a); that of the products is twice as far below
  int top_shift;       // ProductCertificate::kTopShift
};

inline const SumKindUnits& UnitsOf(SumKind kind) {
  using enum Dtype;
  static constexpr SumKindUnits kUnits[] = {
      {0, 0},
      {Certificate<kF32>::kUnitBelowTop,
       ProductCertificate<kF32, true>::kTopShift},
      {Certificate<kF32>::kUnitBelowTop,
       ProductCertificate<kF32, false>::kTopShift},
      {Certificate<kF64>::kUnitBelowTop,
       ProductCertificate<kF64, true>::kTopShift},
      {Certificate<kF64>::kUnitBelowTop,
       ProductCertificate<kF64, false>::kTopShift},
  };
  static_assert(
      Certificate<kF32>::kUnitBelowTop == Certificate<kF16>::kUnitBelowTop &&
      Certificate<kF32>::kUnitBelowTop == Certificate<kBF16>::kUnitBelowTop);
  return kUnits[static_cast<int>(kind)];
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CERTIFICATE_H_
