// The exact sum of any doubles, by slices: what blocks take that a prediction
// does not fit.
//
// Slice k holds multiples of a unit u_k, falling by 52 - a bits from one to the
// next, a = log2 of the additions a lane makes. h' = h + v rounds v to a
// multiple of u_k; v - (h' - h), at most u_k/2, is exact and goes to the next
// slice. What is left after the last one goes through again. Every step is
// exact, so the result does not depend on the order or the number of lanes.
// About 14 operations a vector and pass, against 4 of the certified sums.
#if defined(BATCHNORMD_SERVER_KERNEL_SLICES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_SLICES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_SLICES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_SLICES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/certificate.h"
#include "server/kernel/exact_sum.h"
#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// The elements of a certified block, and a whole number of vectors.
inline constexpr std::size_t kSliceBlock =
    HWY_MAX(std::size_t{1024}, 2 * kMaxLanes * 64);

// log2 of the additions to a lane.
HWY_INLINE int SliceAdditionBits() {
  return static_cast<int>(
      hwy::FloorLog2(static_cast<std::uint32_t>(kSliceBlock / LaneCount())));
}
// The unit of the first slice of values below 2^(top + 1), and by how much
// that of the next one is less.
HWY_INLINE int FirstUnit(int top) { return top + SliceAdditionBits() - 50; }
HWY_INLINE int SliceStep() { return 52 - SliceAdditionBits(); }

// The sum over lanes of what an accumulator gained since it was `start`, in
// units of its last bit.
HWY_INLINE std::int64_t GainedUnits(DoubleVector accumulator,
                                    DoubleVector start) {
  const IntegerTag di;
  const auto gained =
      hn::Sub(hn::BitCast(di, accumulator), hn::BitCast(di, start));
  return hn::GetLane(hn::SumOfLanes(di, gained));
}

// v, less what of it is a multiple of the slice's unit and goes there.
HWY_INLINE DoubleVector TakeSlice(DoubleVector& slice, DoubleVector v) {
  const auto next = QuietAdd(slice, v);
  const auto rest = SubAside(v, hn::Sub(next, slice));
  slice = next;
  return rest;
}

// Doubles in memory, aligned, as what SumBySlices takes.
struct Stored {
  HWY_INLINE DoubleVector operator()(std::size_t i) const {
    return hn::Load(DoubleTag(), values + i);
  }
  const double* values;
};

// What no unit fits: value by value.
template <class Values>
HWY_NOINLINE void SumOneByOne(const Values& values, std::size_t size,
                              ExactSum* sum) {
  HWY_ALIGN double of_vector[kMaxLanes];
  for (std::size_t i = 0; i < size; i += LaneCount()) {
    hn::Store(values(i), DoubleTag(), of_vector);
    for (std::size_t j = 0; j < LaneCount(); ++j) sum->Add(of_vector[j]);
  }
}

// Adds four slices of the values to *sum and stores what is left of them, whose
// greatest magnitude is returned. REQUIRES: |value| < 2^(top + 1).
template <class Values>
HWY_INLINE double TakeFourSlices(const Values& values, std::size_t size,
                                 int top, double* left, ExactSum* sum) {
  constexpr int kLeastUnit = -1074;  // every double is a multiple of it
  const DoubleTag d;
  const std::size_t lanes = LaneCount();
  const int step = SliceStep();
  const int unit0 = FirstUnit(top);
  const int unit1 = std::max(unit0 - step, kLeastUnit);
  const int unit2 = std::max(unit1 - step, kLeastUnit);
  const int unit3 = std::max(unit2 - step, kLeastUnit);
  const auto start0 = hn::Set(d, MiddleOf(unit0));
  const auto start1 = hn::Set(d, MiddleOf(unit1));
  const auto start2 = hn::Set(d, MiddleOf(unit2));
  const auto start3 = hn::Set(d, MiddleOf(unit3));
  auto slice0 = start0;
  auto slice1 = start1;
  auto slice2 = start2;
  auto slice3 = start3;
  auto greatest = hn::Zero(d);
  for (std::size_t i = 0; i < size; i += lanes) {
    auto v = values(i);
    v = TakeSlice(slice0, v);
    v = TakeSlice(slice1, v);
    v = TakeSlice(slice2, v);
    v = TakeSlice(slice3, v);
    greatest = hn::Max(greatest, hn::Abs(v));
    hn::Store(v, d, left + i);
  }
  sum->AddScaled(GainedUnits(slice0, start0), unit0);
  sum->AddScaled(GainedUnits(slice1, start1), unit1);
  sum->AddScaled(GainedUnits(slice2, start2), unit2);
  sum->AddScaled(GainedUnits(slice3, start3), unit3);
  return hn::GetLane(hn::MaxOfLanes(d, greatest));
}

// Adds values(0), values(lanes) and so on, vectors of doubles none of which is
// above `greatest` in magnitude, to *sum; NaN or infinity says that some value
// may be. `left` is room for `size` doubles.
// REQUIRES: size is a multiple of the lanes, at most kSliceBlock.
template <class Values>
HWY_NOINLINE void SumBySlices(const Values& values, std::size_t size,
                              double greatest, double* left, ExactSum* sum) {
  constexpr int kLeastTop = -800;  // within both, all units are in range
  constexpr int kMostTop = 1000;
  if (greatest == 0) return;
  const int top =
      Certificate<Dtype::kF64>::TopOf(std::bit_cast<std::uint64_t>(greatest));
  if (!(greatest < hwy::HighestValue<double>()) || top > kMostTop ||
      top < kLeastTop) {
    return SumOneByOne(values, size, sum);
  }
  greatest = TakeFourSlices(values, size, top, left, sum);
  SumBySlices(Stored{left}, size, greatest, left, sum);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_SLICES_INL_H_
