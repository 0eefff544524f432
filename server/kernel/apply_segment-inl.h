// Eq. 18, 19 and 13 on a segment of a row: no operation is fused, none is
// reordered, so that the bits are those of the readable form.
#if defined(BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/fast_apply.h"
#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// What a loop over elements is compiled for.
template <Formula kFormulaOf, Dtype kDtypeOf, bool kPerLaneOf, bool kMayBeNanOf>
struct Loop {
  static constexpr Formula kFormula = kFormulaOf;
  static constexpr Dtype kDtype = kDtypeOf;
  // Every lane has coefficients of its own, or all share one channel's.
  static constexpr bool kPerLane = kPerLaneOf;
  static constexpr bool kMayBeNan = kMayBeNanOf;
};

// The coefficients of consecutive columns, or of one channel.
struct CoefficientsAt {
  const double* mean;
  const double* mean_lo;
  const double* gain;
  const double* beta;
  const double* mean_dy;
  const double* mean_dy_lo;
  const double* k;
};

template <class A>
HWY_INLINE DoubleVector Coefficient(const double* from, std::size_t column) {
  const DoubleTag d;
  return A::kPerLane ? hn::LoadU(d, from + column) : hn::Set(d, *from);
}

// The results of one vector of elements. Loads of coefficients that do not
// depend on the column are moved out of the caller's loop.
template <class A>
HWY_INLINE DoubleVector Evaluate(const BitsOf<A::kDtype>* x,
                                 const BitsOf<A::kDtype>* dy,
                                 const CoefficientsAt& c, std::size_t column) {
  const auto gain = Coefficient<A>(c.gain, column);
  auto result = gain;
  if constexpr (A::kFormula == Formula::kForward) {
    const auto centered =
        hn::Sub(hn::Sub(LoadWide<A::kDtype>(x), Coefficient<A>(c.mean, column)),
                Coefficient<A>(c.mean_lo, column));
    result = hn::Add(hn::Mul(gain, centered), Coefficient<A>(c.beta, column));
  } else if constexpr (A::kFormula == Formula::kBackward) {
    const auto centered =
        hn::Sub(hn::Sub(LoadWide<A::kDtype>(x), Coefficient<A>(c.mean, column)),
                Coefficient<A>(c.mean_lo, column));
    const auto centered_dy = hn::Sub(
        hn::Sub(LoadWide<A::kDtype>(dy), Coefficient<A>(c.mean_dy, column)),
        Coefficient<A>(c.mean_dy_lo, column));
    const auto slope = hn::Mul(centered, Coefficient<A>(c.k, column));
    result = hn::Mul(gain, hn::Sub(centered_dy, slope));
  } else {
    result = hn::Mul(gain, LoadWide<A::kDtype>(dy));
  }
  if constexpr (A::kMayBeNan) result = CanonicalNan(result);
  return result;
}

template <class A>
HWY_INLINE void ApplyVector(const BitsOf<A::kDtype>* x,
                            const BitsOf<A::kDtype>* dy,
                            const CoefficientsAt& c, std::size_t column,
                            BitsOf<A::kDtype>* out) {
  StoreNarrow<A::kDtype>(Evaluate<A>(x, dy, c, column), out);
}

// The last elements of a segment, fewer than a vector.
template <class A>
HWY_NOINLINE void ApplyTail(const BitsOf<A::kDtype>* x,
                            const BitsOf<A::kDtype>* dy,
                            const CoefficientsAt& c, std::size_t column,
                            std::size_t size, BitsOf<A::kDtype>* out) {
  HWY_ALIGN BitsOf<A::kDtype> x_values[kMaxLanes] = {};
  HWY_ALIGN BitsOf<A::kDtype> dy_values[kMaxLanes] = {};
  HWY_ALIGN BitsOf<A::kDtype> results[kMaxLanes];
  if constexpr (A::kFormula != Formula::kInferenceBackward) {
    std::memcpy(x_values, x, size * sizeof(*x));
  }
  if constexpr (A::kFormula != Formula::kForward) {
    std::memcpy(dy_values, dy, size * sizeof(*dy));
  }
  ApplyVector<A>(x_values, dy_values, c, column, results);
  std::memcpy(out, results, size * sizeof(*out));
}

// Elements [0, size) of a row; column j has the coefficients c[j] if per lane.
// Coefficients can be read up to a vector behind the last column. `out` is
// apart from x and dy, or the same element by element; `apart` says which.
// Prefetches the elements that lie `ahead` of these.
template <class A>
HWY_INLINE void ApplySegment(const BitsOf<A::kDtype>* x,
                             const BitsOf<A::kDtype>* dy,
                             const CoefficientsAt& c, std::size_t size,
                             std::int64_t ahead, bool apart,
                             BitsOf<A::kDtype>* out) {
  const std::size_t lanes = LaneCount();
  std::size_t j = 0;
  for (; j + 2 * lanes <= size; j += 2 * lanes) {
    const auto at = static_cast<std::int64_t>(j) + ahead;
    if constexpr (A::kFormula != Formula::kInferenceBackward) {
      PrefetchFar(x + at);
    }
    if constexpr (A::kFormula != Formula::kForward) PrefetchFar(dy + at);
    const auto first = Evaluate<A>(x + j, dy + j, c, j);
    const auto second =
        Evaluate<A>(x + j + lanes, dy + j + lanes, c, j + lanes);
    StoreNarrow<A::kDtype>(first, second, out + j);
  }
  if (j + lanes <= size) {
    ApplyVector<A>(x + j, dy + j, c, j, out + j);
    j += lanes;
  }
  if (j == size) return;
  if (apart && size >= lanes) {
    // Some elements twice, which is quicker than fewer than a vector.
    j = size - lanes;
    ApplyVector<A>(x + j, dy + j, c, j, out + j);
  } else {
    ApplyTail<A>(x + j, dy + j, c, j, size - j, out + j);
  }
}

// The coefficients of the columns from `column` on.
template <class A>
HWY_INLINE CoefficientsAt From(CoefficientsAt c, std::size_t column) {
  if constexpr (A::kPerLane) {
    c.gain += column;
    if constexpr (A::kFormula != Formula::kInferenceBackward) {
      c.mean += column;
      c.mean_lo += column;
    }
    if constexpr (A::kFormula == Formula::kForward) c.beta += column;
    if constexpr (A::kFormula == Formula::kBackward) {
      c.mean_dy += column;
      c.mean_dy_lo += column;
      c.k += column;
    }
  }
  return c;
}

// The same, with stores past the caches as far as whole lines are written. They
// go along with the arithmetic, which a buffer would have to precede.
template <class A>
HWY_INLINE void ApplyStreamedSegment(const BitsOf<A::kDtype>* x,
                                     const BitsOf<A::kDtype>* dy,
                                     const CoefficientsAt& c, std::size_t size,
                                     std::int64_t ahead, bool apart,
                                     BitsOf<A::kDtype>* out) {
  const std::size_t lanes = LaneCount();
  const std::size_t step = 2 * lanes;
  const std::size_t past =
      reinterpret_cast<std::uintptr_t>(out) / sizeof(*out) % step;
  const std::size_t head = std::min(size, (step - past) % step);
  ApplySegment<A>(x, dy, c, head, ahead, apart, out);
  std::size_t j = head;
  for (; j + step <= size; j += step) {
    const auto at = static_cast<std::int64_t>(j) + ahead;
    if constexpr (A::kFormula != Formula::kInferenceBackward) {
      PrefetchFar(x + at);
    }
    if constexpr (A::kFormula != Formula::kForward) PrefetchFar(dy + at);
    const auto first = Evaluate<A>(x + j, dy + j, c, j);
    const auto second =
        Evaluate<A>(x + j + lanes, dy + j + lanes, c, j + lanes);
    StreamNarrow<A::kDtype>(first, second, out + j);
  }
  ApplySegment<A>(x + j, dy + j, From<A>(c, j), size - j, ahead, apart,
                  out + j);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
