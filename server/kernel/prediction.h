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

// All f16 fit the scale of this top.
inline constexpr int kTopOfF16 = 15;

// The scale of channels whose values have these tops. Inlined, and so are its
// callers: one that is returned is stored by halves and loaded as a whole,
// which a processor cannot do at once.
template <Dtype kDtype, bool kSquares>
[[gnu::always_inline]] inline TotalsScale ScaleOfTops(int a_top, int b_top) {
  return {.top = static_cast<std::int16_t>(a_top),
          .other_top = static_cast<std::int16_t>(b_top),
          .kind = SumKindOf<kDtype, kSquares>()};
}

// The top for values whose sample has this greatest magnitude. Squares are
// certified by their mean, which the greatest of a large sample exceeds;
// products by their greatest factors, which a sample hardly contains. Small
// samples need a binade more.
template <Dtype kDtype, bool kSquares>
[[gnu::always_inline]] inline int TopOfSample(double greatest, bool is_large) {
  using C = Certificate<kDtype>;
  if (kSquares && kDtype == Dtype::kF16) return kTopOfF16;
  if (!(greatest > 0) || !std::isfinite(greatest)) return 0;
  const int exponent =
      Certificate<Dtype::kF64>::TopOf(std::bit_cast<std::uint64_t>(greatest));
  const int room = (kSquares ? 0 : 1) + (is_large ? 0 : 1);
  return std::clamp(exponent + room, C::kLeastTop, C::kGreatestTop);
}

// `top`, or that of a sample which it fits badly: too low, or so high that
// ordinary values seem small.
template <Dtype kDtype, bool kSquares>
int BetterTop(int top, double greatest) {
  constexpr int kTooHigh = 4;
  const int sampled = TopOfSample<kDtype, kSquares>(greatest, true);
  return sampled > top || sampled < top - kTooHigh ? sampled : top;
}

// Whether integers at this scale can take sums of this kind. f16 needs no scan
// as long as it keeps to its one scale.
template <Dtype kDtype, bool kSquares>
bool IsScaleFor(const TotalsScale& scale) {
  return scale.kind == SumKindOf<kDtype, kSquares>() &&
         (!(kSquares && kDtype == Dtype::kF16) || scale.top == kTopOfF16);
}

// The greatest magnitudes of a and b in a sample or a block.
struct Magnitudes {
  double a;
  double b;
};

// The scale for values of which a sample of `size` has these.
template <Dtype kDtype, bool kSquares>
[[gnu::always_inline]] inline TotalsScale ScaleOfSample(
    const Magnitudes& sample, std::int64_t size) {
  constexpr std::int64_t kLargeSample = 64;
  const bool is_large = size >= kLargeSample;
  return ScaleOfTops<kDtype, kSquares>(
      TopOfSample<kDtype, kSquares>(sample.a, is_large),
      TopOfSample<kDtype, kSquares>(sample.b, is_large));
}

// The scale a channel should have after a block that did not fit the old one.
template <Dtype kDtype, bool kSquares>
TotalsScale BetterScale(const Magnitudes& block, const TotalsScale& old) {
  if (!std::isfinite(block.a) || !std::isfinite(block.b)) return old;
  return ScaleOfTops<kDtype, kSquares>(
      BetterTop<kDtype, kSquares>(old.top, block.a),
      BetterTop<kDtype, kSquares>(old.other_top, block.b));
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_PREDICTION_H_
