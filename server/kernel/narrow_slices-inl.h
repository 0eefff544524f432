// Blocks of f16, bf16 and f32 that no prediction fits: sum(a) and sum(a*b) by
// slices, in one pass.
//
// As slices-inl.h, but how many slices the block needs is known beforehand,
// from its least and greatest magnitude. So nothing is left after the last
// slice, which takes what it gets in one addition; accumulators stay in
// registers, and elements are read once. Two sizes: 2 and 4 slices for values
// that are hardly wider than what a prediction allows, 4 and 7 (29 operations a
// vector) for f32 that are up to 2^120 times as large as each other.
#if defined(BATCHNORMD_SERVER_KERNEL_NARROW_SLICES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_NARROW_SLICES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_NARROW_SLICES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_NARROW_SLICES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "server/kernel/accumulate-inl.h"
#include "server/kernel/certified_block-inl.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/element_format.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/prediction.h"
#include "server/kernel/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Values below 2^(top + 1) in magnitude, all multiples of 2^unit.
struct ValueRange {
  int top;
  int unit;
};

// The range of what was found in a block, where some value is not 0 and all are
// finite: false otherwise.
template <Dtype kDtype>
HWY_INLINE bool RangeOf(const Extremes<BitsOf<kDtype>>& found,
                        ValueRange& range) {
  using Format = ElementFormat<kDtype>;
  using Bits = BitsOf<kDtype>;
  constexpr int kFraction = Format::kPrecision - 1;
  constexpr Bits kInfinity =
      static_cast<Bits>(static_cast<Bits>(~Bits{0}) << (kFraction + 1)) >> 1;
  const auto greatest = static_cast<Bits>(found.greatest >> 1);
  const auto least = static_cast<Bits>((found.least + 1) >> 1);
  if (greatest == 0 || greatest >= kInfinity) return false;
  const auto exponent = [](Bits magnitude) {
    return std::max(static_cast<int>(magnitude >> kFraction), 1) -
           Format::kBias;
  };
  range = {exponent(greatest), exponent(least) - kFraction};
  return true;
}

// How many slices take values of this range, if the first one has this unit.
HWY_INLINE int SlicesFor(const ValueRange& range, int first_unit) {
  const int step = SliceStep();
  return 1 + (std::max(first_unit - range.unit, 0) + step - 1) / step;
}

// Adds what accumulators gained, `slices` of them in memory, the first of unit
// `first_unit`. The least first: a sum grows at its end.
HWY_INLINE void AddSlices(const double (*accumulators)[kMaxLanes], int slices,
                          int first_unit, ExactSum* sum) {
  const DoubleTag d;
  const int step = SliceStep();
  for (int k = slices; k-- > 0;) {
    const int unit = first_unit - k * step;
    const auto start = hn::Set(d, MiddleOf(unit));
    sum->AddScaled(GainedUnits(hn::Load(d, accumulators[k]), start), unit);
  }
}

// Adds sum(a) in 2 slices and sum(a*b) in 4, or in 4 and 7 if kMany.
template <Dtype kDtype, bool kSquares, bool kMany>
HWY_NOINLINE void AddNarrowSlices(const BitsOf<kDtype>* a,
                                  const BitsOf<kDtype>* b, std::size_t size,
                                  int sum_unit, int product_unit,
                                  ChannelTotals::Spill& spill) {
  const DoubleTag d;
  const int step = SliceStep();
  const auto start = [&](int unit, int slice) HWY_ATTR {
    return hn::Set(d, MiddleOf(unit - slice * step));
  };
  auto s0 = start(sum_unit, 0), s1 = start(sum_unit, 1);
  auto s2 = start(sum_unit, 2), s3 = start(sum_unit, 3);
  auto p0 = start(product_unit, 0), p1 = start(product_unit, 1);
  auto p2 = start(product_unit, 2), p3 = start(product_unit, 3);
  auto p4 = start(product_unit, 4), p5 = start(product_unit, 5);
  auto p6 = start(product_unit, 6);
  // Each vector goes through the slices in three steps, of which a turn of the
  // loop does one for each of three vectors: a chain of all slices would keep
  // the machine waiting.
  auto rest1 = hn::Zero(d), rest2 = hn::Zero(d), left1 = hn::Zero(d);
  const auto add = [&](DoubleVector va, DoubleVector vb) HWY_ATTR {
    if constexpr (kMany) {
      p6 = hn::Add(p6, rest2);
      rest2 = TakeSlice(p5, TakeSlice(p4, TakeSlice(p3, rest1)));
      rest1 = TakeSlice(p2, TakeSlice(p1, TakeProductSlice(p0, va, vb)));
      s3 = hn::Add(s3, TakeSlice(s2, left1));
      left1 = TakeSlice(s1, TakeSlice(s0, va));
    } else {
      p3 = hn::Add(p3, rest2);
      rest2 = TakeSlice(p2, rest1);
      rest1 = TakeSlice(p1, TakeProductSlice(p0, va, vb));
      s1 = hn::Add(s1, left1);
      left1 = TakeSlice(s0, va);
    }
  };
  const std::size_t lanes = LaneCount();
  std::size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    const auto va = LoadWide<kDtype>(a + i);
    add(va, kSquares ? va : LoadWide<kDtype>(b + i));
  }
  if (i < size) {
    const auto va = LoadWideFirst<kDtype>(a + i, size - i);
    add(va, kSquares ? va : LoadWideFirst<kDtype>(b + i, size - i));
  }
  add(hn::Zero(d), hn::Zero(d));  // the steps that the last vectors lack
  add(hn::Zero(d), hn::Zero(d));
  HWY_ALIGN double sums[4][kMaxLanes];
  HWY_ALIGN double products[7][kMaxLanes];
  hn::Store(s0, d, sums[0]);
  hn::Store(s1, d, sums[1]);
  hn::Store(s2, d, sums[2]);
  hn::Store(s3, d, sums[3]);
  hn::Store(p0, d, products[0]);
  hn::Store(p1, d, products[1]);
  hn::Store(p2, d, products[2]);
  hn::Store(p3, d, products[3]);
  hn::Store(p4, d, products[4]);
  hn::Store(p5, d, products[5]);
  hn::Store(p6, d, products[6]);
  AddSlices(sums, kMany ? 4 : 2, sum_unit, &spill.sum);
  AddSlices(products, kMany ? 7 : 4, product_unit, &spill.products);
}

// Adds sum(a) and sum(a*b) of a block to the spill, or returns false where it
// has too wide a range or only zeros, or something that is not finite. Says
// what the greatest magnitudes are. REQUIRES: size <= kSliceBlock.
template <Dtype kDtype, bool kSquares>
HWY_INLINE bool AddInNarrowSlices(const BitsOf<kDtype>* a,
                                  const BitsOf<kDtype>* b, std::size_t size,
                                  const BlockExtremes<kDtype>& found,
                                  ChannelTotals::Spill& spill,
                                  Magnitudes& greatest) {
  ValueRange of_a;
  ValueRange of_b;
  if (!RangeOf<kDtype>(found.a, of_a) || !RangeOf<kDtype>(found.b, of_b)) {
    return false;
  }
  const ValueRange of_products = {of_a.top + of_b.top + 1,
                                  of_a.unit + of_b.unit};
  const int first_of_a = FirstUnit(of_a.top);
  const int first_of_products = FirstUnit(of_products.top);
  const int slices_of_a = SlicesFor(of_a, first_of_a);
  const int slices_of_products = SlicesFor(of_products, first_of_products);
  if (slices_of_a > 4 || slices_of_products > 7) return false;
  if (slices_of_a <= 2 && slices_of_products <= 4) {
    AddNarrowSlices<kDtype, kSquares, false>(a, b, size, first_of_a,
                                             first_of_products, spill);
  } else {
    AddNarrowSlices<kDtype, kSquares, true>(a, b, size, first_of_a,
                                            first_of_products, spill);
  }
  greatest = {PowerOfTwoDouble(of_a.top), PowerOfTwoDouble(of_b.top)};
  return true;
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_NARROW_SLICES_INL_H_
