// The scale at which a channel's values are expected to fit (certificate.h).
//
// A prediction decides how fast a block is summed, never what the sum is.
#ifndef BATCHNORMD_SERVER_KERNEL_PREDICTION_H_
#define BATCHNORMD_SERVER_KERNEL_PREDICTION_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "server/kernel/certificate.h"
#include "server/kernel/channel_totals.h"

namespace batchnorm::kernel {

// The scale of channels whose values have these tops. Inlined, and so are its
// callers: one that is returned is stored by halves and loaded as a whole,
// which a processor cannot do at once.
template <Dtype kDtype, bool kSquares>
[[gnu::always_inline]] inline TotalsScale ScaleOfTops(int a_top, int b_top) {
  return {.top = static_cast<std::int16_t>(a_top),
          .other_top = static_cast<std::int16_t>(b_top),
          .kind = SumKindOf<kDtype, kSquares>()};
}

// What bounds the values of a block: their mean square, which the greatest of a
// large sample exceeds; or the greatest of all, which a sample hardly contains;
// or that they are f16, all of which fit the scale of one top.
enum class BoundedBy : std::uint8_t { kMeanSquare, kGreatest, kF16 };
inline constexpr int kTopOfF16 = 15;

// How many binades the top for such a sample of a and b should be above its
// greatest values, whose exponents these are.
template <bool kSquares, BoundedBy kBy>
[[gnu::always_inline]] inline int RoomAbove(int a, int b, bool is_large) {
  const bool by_mean_square =
      kSquares || (kBy == BoundedBy::kMeanSquare && ProbeScale::Exists(a) &&
                   ProbeScale::Exists(b));
  return (by_mean_square ? 0 : 1) + (is_large ? 0 : 1);
}

// The top for values whose greatest magnitude is of this binade.
template <Dtype kDtype, BoundedBy kBy>
[[gnu::always_inline]] inline int TopOfBinade(int exponent, int room) {
  using C = Certificate<kDtype>;
  if (kBy == BoundedBy::kF16) return kTopOfF16;
  return std::clamp(exponent + room, C::kLeastTop, C::kGreatestTop);
}

// The top for a sample whose greatest magnitude this is, as bits. A subnormal
// passes for one of the least normal binade but one.
template <Dtype kDtype, BoundedBy kBy>
[[gnu::always_inline]] inline int TopOfSample(BitsOf<kDtype> greatest,
                                              int room) {
  constexpr int kGreatestExponent = ElementFormat<kDtype>::kBias;
  if (kBy == BoundedBy::kF16) return kTopOfF16;
  const int exponent = Certificate<kDtype>::TopOf(greatest);
  if (greatest == 0 || exponent > kGreatestExponent) return 0;
  return TopOfBinade<kDtype, kBy>(exponent, room);
}

inline int ExponentOf(double greatest) {
  return Certificate<Dtype::kF64>::TopOf(
      std::bit_cast<std::uint64_t>(greatest));
}

// `top`, or that of a block's greatest magnitude which it fits badly: too low,
// or so high that ordinary values seem small.
template <Dtype kDtype, BoundedBy kBy>
int BetterTop(int top, double greatest, int room) {
  constexpr int kTooHigh = 4;
  const int found =
      greatest > 0 ? TopOfBinade<kDtype, kBy>(ExponentOf(greatest), room) : 0;
  return found > top || found < top - kTooHigh ? found : top;
}

// Whether integers at this scale can take sums of this kind. f16 needs no scan
// as long as it keeps to its one scale.
template <Dtype kDtype, bool kSquares, BoundedBy kBy>
bool IsScaleFor(const TotalsScale& scale) {
  return scale.kind == SumKindOf<kDtype, kSquares>() &&
         (kBy != BoundedBy::kF16 ||
          (scale.top == kTopOfF16 && scale.other_top == kTopOfF16));
}

// The greatest magnitudes of a and b in a block.
struct Magnitudes {
  double a;
  double b;
};

// The scale for values of which a sample of `size` has these greatest
// magnitudes, as bits.
template <Dtype kDtype, bool kSquares, BoundedBy kBy>
[[gnu::always_inline]] inline TotalsScale ScaleOfSample(BitsOf<kDtype> a,
                                                        BitsOf<kDtype> b,
                                                        std::int64_t size) {
  constexpr std::int64_t kLargeSample = 64;
  using C = Certificate<kDtype>;
  const int room =
      RoomAbove<kSquares, kBy>(C::TopOf(a), C::TopOf(b), size >= kLargeSample);
  return ScaleOfTops<kDtype, kSquares>(TopOfSample<kDtype, kBy>(a, room),
                                       TopOfSample<kDtype, kBy>(b, room));
}

// The scale a channel should have after a block that did not fit the old one.
template <Dtype kDtype, bool kSquares, BoundedBy kBy>
TotalsScale BetterScale(const Magnitudes& block, const TotalsScale& old) {
  if (!std::isfinite(block.a) || !std::isfinite(block.b)) return old;
  const int room =
      RoomAbove<kSquares, kBy>(ExponentOf(block.a), ExponentOf(block.b), true);
  return ScaleOfTops<kDtype, kSquares>(
      BetterTop<kDtype, kBy>(old.top, block.a, room),
      BetterTop<kDtype, kBy>(old.other_top, block.b, room));
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_PREDICTION_H_
