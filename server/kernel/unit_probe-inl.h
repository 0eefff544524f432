// Whether floats are multiples of a unit, and what their squares add up to, as
// the processor tells in passing (AVX2; README.md, "Exact at memory speed").
//
// A product that is less than the least normal float, 2^-126, and has lost bits
// raises the underflow flag. Of a value v and its unit q take v * (2^-149 / q):
// if v is a multiple of q, this is one of 2^-149, the least float there is, and
// exact. If not, the last of v's 24 bits lies below q, so v is below 2^23 q,
// and the product is below 2^-126 and loses it. Nobody reads these products:
// one multiplication is all there is to a probe, where a scan takes three
// operations. (A sum of squares bounds all parts of the others, as
// certificate.h says: one more, where a scan for the greatest value takes two.)
// Products below 2^-126 may take a processor many cycles; they are of values
// that are 2^22 times less than the greatest, hence few.
#if defined(BATCHNORMD_SERVER_KERNEL_UNIT_PROBE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_UNIT_PROBE_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_UNIT_PROBE_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_UNIT_PROBE_INL_H_
#endif

#include <hwy/highway.h>

#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/element_format.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/prediction.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Of f64, a multiple of a unit may still be too small: its products with 53
// bits reach below those of two units.
template <Dtype kDtype>
inline constexpr bool kProbesUnits = kSeesUnderflow && kDtype == Dtype::kF32;

// (The inexact flag needs no bounds, and certifies more f16 at tops of theirs.)
template <Dtype kDtype, bool kSquares>
inline constexpr BoundedBy kBoundedBy =
    kDtype == Dtype::kF16 && (kSquares || !kSeesInexact) ? BoundedBy::kF16
    : kSquares || kProbesUnits<kDtype> ? BoundedBy::kMeanSquare
                                       : BoundedBy::kGreatest;

// As many floats as two vectors of doubles have lanes.
using ProbeTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<ProbeTag>;

// Raises the flag if a value is no multiple of its unit; a factor of 0 raises
// it never. Adds the values' squares, unless their sum is what is asked for.
template <bool kSquares>
HWY_INLINE void ProbeVector(FloatVector values, FloatVector factors,
                            FloatVector& squares) {
#if HWY_TARGET == HWY_AVX2
  __m256 product;
  asm volatile("vmulps %2, %1, %0"
               : "=x"(product)
               : "x"(values.raw), "x"(factors.raw));
#else
  (void)factors;
#endif
  if constexpr (!kSquares) squares = hn::MulAdd(values, values, squares);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_UNIT_PROBE_INL_H_
