// One vector of a and b added to a lane's accumulators: the certified sums.
//
// Exact as long as the block is certified afterwards (certificate.h). For
// narrow dtypes five operations: sum += a; top and rest take a*b in two slices.
// For f64, whose products are two doubles, fourteen. What is rounded on purpose
// is computed by Quiet functions (arithmetic_flag-inl.h).
#if defined(BATCHNORMD_SERVER_KERNEL_ACCUMULATE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_ACCUMULATE_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_ACCUMULATE_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_ACCUMULATE_INL_H_
#endif

#include <hwy/highway.h>

#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// a*b, less what of it is a multiple of the slice's unit and goes there.
// REQUIRES: a*b has at most 53 bits.
HWY_INLINE DoubleVector TakeProductSlice(DoubleVector& slice, DoubleVector a,
                                         DoubleVector b) {
#if HWY_NATIVE_FMA
  const auto next = QuietMulAdd(a, b, slice);
  const auto rest = hn::MulSub(a, b, hn::Sub(next, slice));
  slice = next;
  return rest;
#else
  return TakeSlice(slice, hn::Mul(a, b));
#endif
}

// REQUIRES: a*b has at most 53 bits.
HWY_INLINE void AddExactProduct(DoubleVector a, DoubleVector b,
                                DoubleVector& top, DoubleVector& rest) {
  rest = hn::Add(rest, TakeProductSlice(top, a, b));
}

#if !HWY_NATIVE_FMA
// v = upper + lower with at most 26 bits each (Dekker, Veltkamp).
HWY_INLINE DoubleVector UpperHalf(DoubleVector v) {
  const auto spread = hn::Mul(v, hn::Set(DoubleTag(), 0x1p27 + 1));
  return hn::Sub(spread, hn::Sub(spread, v));
}
#endif

// a*b - product, where product is a*b rounded.
HWY_INLINE DoubleVector ProductError(DoubleVector a, DoubleVector b,
                                     DoubleVector product) {
#if HWY_NATIVE_FMA
  return hn::MulSub(a, b, product);
#else
  const auto a1 = UpperHalf(a);
  const auto b1 = UpperHalf(b);
  const auto a0 = hn::Sub(a, a1);
  const auto b0 = hn::Sub(b, b1);
  const auto upper = hn::Sub(hn::Mul(a1, b1), product);
  const auto middle = hn::Add(hn::Add(upper, hn::Mul(a1, b0)), hn::Mul(a0, b1));
  return hn::Add(middle, hn::Mul(a0, b0));
#endif
}

HWY_INLINE void AddWideProduct(DoubleVector a, DoubleVector b,
                               DoubleVector& top, DoubleVector& rest,
                               DoubleVector& error, DoubleVector& error_rest) {
  const auto product = QuietMul(a, b);
  const auto lost = ProductError(a, b, product);
  rest = hn::Add(rest, TakeSlice(top, product));
  error_rest = hn::Add(error_rest, TakeSlice(error, lost));
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_ACCUMULATE_INL_H_
