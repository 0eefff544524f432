// A block that its channel's prediction does not fit: exact all the same.
#if defined(BATCHNORMD_SERVER_KERNEL_SPILLED_BLOCK_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_SPILLED_BLOCK_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_SPILLED_BLOCK_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_SPILLED_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "server/kernel/accumulate-inl.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/element_format.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/narrow_slices-inl.h"
#include "server/kernel/prediction.h"
#include "server/kernel/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Keeps the greatest magnitude in `greatest`, and in `nan` 0, or NaN once v was
// infinite or NaN.
HWY_INLINE void See(DoubleVector v, DoubleVector& greatest, DoubleVector& nan) {
  greatest = hn::Max(greatest, hn::Abs(v));
  nan = hn::Add(nan, hn::Sub(v, v));
}

// The greatest magnitude seen; NaN or infinite if any was.
HWY_INLINE double GreatestSeen(DoubleVector greatest, DoubleVector nan) {
  const DoubleTag d;
  return hn::GetLane(hn::MaxOfLanes(d, greatest)) +
         hn::GetLane(hn::SumOfLanes(d, nan));
}

HWY_INLINE std::size_t Padded(std::size_t size) {
  return (size + LaneCount() - 1) / LaneCount() * LaneCount();
}

// Elements as doubles in whole vectors, zeros behind. Returns the greatest
// magnitude.
template <Dtype kDtype>
HWY_INLINE double Widen(const BitsOf<kDtype>* from, std::size_t size,
                        double* HWY_RESTRICT values) {
  const DoubleTag d;
  const std::size_t lanes = LaneCount();
  auto greatest = hn::Zero(d);
  auto nan = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    const auto v = LoadWide<kDtype>(from + i);
    See(v, greatest, nan);
    hn::Store(v, d, values + i);
  }
  if (i < size) {
    HWY_ALIGN BitsOf<kDtype> tail[kMaxLanes] = {};
    std::memcpy(tail, from + i, (size - i) * sizeof(*from));
    const auto v = LoadWide<kDtype>(tail);
    See(v, greatest, nan);
    hn::Store(v, d, values + i);
  }
  return GreatestSeen(greatest, nan);
}

// Whether every a*b is a double plus a double, and can be split into them: not
// too large, nor so small that its last bits are lost, and (for targets without
// a fused multiply-add) not of factors that a split would overflow.
HWY_INLINE bool ProductsHaveErrors(const double* a, const double* b,
                                   std::size_t size) {
  constexpr double kLeast = 0x1p-960;
  constexpr double kGreatestFactor = 0x1p990;
  for (std::size_t i = 0; i < size; ++i) {
    const double greatest = std::max(std::abs(a[i]), std::abs(b[i]));
    const double product = std::abs(a[i] * b[i]);
    const bool fits = product >= kLeast && std::isfinite(product) &&
                      greatest <= kGreatestFactor;
    if (!fits && a[i] != 0 && b[i] != 0) return false;
  }
  return true;
}

// Products that doubles hold exactly.
struct ExactProducts {
  HWY_INLINE DoubleVector operator()(std::size_t i) const {
    const DoubleTag d;
    return hn::Mul(hn::Load(d, a + i), hn::Load(d, b + i));
  }
  const double* a;
  const double* b;
};

// Products of doubles: rounded ones, and what they lack. `errors` and `left`
// are room for `size` doubles; a is overwritten.
HWY_NOINLINE void SpillWideProducts(double* a, const double* b,
                                    std::size_t size, double* errors,
                                    double* left, ExactSum* sum) {
  if (!ProductsHaveErrors(a, b, size)) {
    for (std::size_t i = 0; i < size; ++i) sum->AddProduct(a[i], b[i]);
    return;
  }
  const DoubleTag d;
  auto greatest = hn::Zero(d);
  auto greatest_error = hn::Zero(d);
  auto nan = hn::Zero(d);
  for (std::size_t i = 0; i < size; i += LaneCount()) {
    const auto left_factor = hn::Load(d, a + i);
    const auto right_factor = hn::Load(d, b + i);
    const auto product = hn::Mul(left_factor, right_factor);
    const auto error = ProductError(left_factor, right_factor, product);
    See(product, greatest, nan);
    See(error, greatest_error, nan);
    hn::Store(error, d, errors + i);
    hn::Store(product, d, a + i);
  }
  SumBySlices(Stored{a}, size, GreatestSeen(greatest, nan), left, sum);
  SumBySlices(Stored{errors}, size, GreatestSeen(greatest_error, nan), left,
              sum);
}

// What AddSpilledBlock has to be told of a block: of doubles nothing.
template <Dtype kDtype, bool kSquares>
HWY_INLINE BlockExtremes<kDtype> ScanSpilled(const BitsOf<kDtype>* a,
                                             const BitsOf<kDtype>* b,
                                             const Rows& block) {
  if constexpr (kDtype == Dtype::kF64) return {};
  return ScanBoth<kDtype, kSquares>(a, b, block);
}

// Adds sum(a) and sum(a*b) to the spills, and says what the greatest values
// are. `found` is what ScanSpilled found of the block. REQUIRES: size <=
// kSliceBlock.
template <Dtype kDtype, bool kSquares>
HWY_NOINLINE Magnitudes AddSpilledBlock(const BitsOf<kDtype>* a,
                                        const BitsOf<kDtype>* b,
                                        std::size_t size,
                                        const BlockExtremes<kDtype>& found,
                                        ChannelTotals& channel) {
  HWY_ALIGN double a_values[kSliceBlock];
  HWY_ALIGN double b_values[kSliceBlock];
  HWY_ALIGN double left[kSliceBlock];
  const std::size_t padded = Padded(size);
  const double* const other = kSquares ? a_values : b_values;
  Magnitudes greatest;
  if constexpr (kDtype != Dtype::kF64) {
    if (AddInNarrowSlices<kDtype, kSquares>(a, b, size, found, channel.spill(),
                                            greatest)) {
      return greatest;
    }
  }
  greatest.a = Widen<kDtype>(a, size, a_values);
  greatest.b = kSquares ? greatest.a : Widen<kDtype>(b, size, b_values);
  ChannelTotals::Spill& spill = channel.spill();
  SumBySlices(Stored{a_values}, padded, greatest.a, left, &spill.sum);
  if constexpr (kDtype == Dtype::kF64) {
    HWY_ALIGN double errors[kSliceBlock];
    SpillWideProducts(a_values, other, padded, errors, left, &spill.products);
  } else {
    SumBySlices(ExactProducts{a_values, other}, padded, greatest.a * greatest.b,
                left, &spill.products);
  }
  return greatest;
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_SPILLED_BLOCK_INL_H_
