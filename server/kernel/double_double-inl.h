// Pairs of doubles, hi + lo, as numbers of 106 bits: finishing.md, "Pairs".
//
// u is 2^-53. A pair is normal where |lo| <= u|hi|; then hi is the double that
// is nearest to hi + lo, ties to even. Error bounds are relative, and hold
// within the ranges of finishing.md. A zero is exact.
// No vector is kept in an array or a struct: SVE's have no size.
#if defined(BATCHNORMD_SERVER_KERNEL_DOUBLE_DOUBLE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_DOUBLE_DOUBLE_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_DOUBLE_DOUBLE_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_DOUBLE_DOUBLE_INL_H_
#endif

#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/exact_divisor.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// a + b = result + error, exactly; the result is the nearest double (Knuth).
HWY_INLINE Vector TwoSum(Vector a, Vector b, Vector& error) {
  const Vector sum = hn::Add(a, b);
  const Vector b_in_sum = hn::Sub(sum, a);
  const Vector a_in_sum = hn::Sub(sum, b_in_sum);
  error = hn::Add(hn::Sub(a, a_in_sum), hn::Sub(b, b_in_sum));
  return sum;
}

// The same where |a| >= |b| or a is 0 (Dekker).
HWY_INLINE Vector FastTwoSum(Vector a, Vector b, Vector& error) {
  const Vector sum = hn::Add(a, b);
  error = hn::Sub(b, hn::Sub(sum, a));
  return sum;
}

// a = result + lo, of 26 bits each (Veltkamp).
HWY_INLINE Vector Split(Vector a, Vector& lo) {
  const Vector shifted = hn::Mul(a, Constant(0x1p27 + 1));
  const Vector hi = hn::Sub(shifted, hn::Sub(shifted, a));
  lo = hn::Sub(a, hi);
  return hi;
}

// a * b = result + error, exactly; the result is the nearest double.
HWY_INLINE Vector TwoProduct(Vector a, Vector b, Vector& error) {
  const Vector product = hn::Mul(a, b);
#if HWY_NATIVE_FMA
  error = hn::MulSub(a, b, product);
#else  // Highway's MulSub rounds twice here.
  Vector a_lo;
  Vector b_lo;
  const Vector a_hi = Split(a, a_lo);
  const Vector b_hi = Split(b, b_lo);
  const Vector rest = hn::Sub(hn::Mul(a_hi, b_hi), product);
  const Vector middle = hn::Add(rest, hn::Mul(a_hi, b_lo));
  error = hn::Add(hn::Add(middle, hn::Mul(a_lo, b_hi)), hn::Mul(a_lo, b_lo));
#endif
  return product;
}

// The same sum a0 + a1 + a2, with a0 + a1 normal and a2 as small as may be. If
// the sum is 0, all three become 0.
HWY_INLINE void Renormalize(Vector& a0, Vector& a1, Vector& a2) {
  a1 = TwoSum(a1, a2, a2);
  a0 = TwoSum(a0, a1, a1);
  a1 = TwoSum(a1, a2, a2);
  a0 = TwoSum(a0, a1, a1);
}

// (a + a_lo) * (b + b_lo), within 9u^2. REQUIRES: normal pairs.
HWY_INLINE Vector Multiply(Vector a, Vector a_lo, Vector b, Vector b_lo,
                           Vector& lo) {
  Vector error;
  const Vector product = TwoProduct(a, b, error);
  const Vector crossed = hn::Add(hn::Mul(a, b_lo), hn::Mul(a_lo, b));
  return FastTwoSum(product, hn::Add(error, crossed), lo);
}

// (a + a_lo) * b, within 4u^2. REQUIRES: a normal pair.
HWY_INLINE Vector Multiply(Vector a, Vector a_lo, Vector b, Vector& lo) {
  Vector error;
  const Vector product = TwoProduct(a, b, error);
  return FastTwoSum(product, hn::Add(error, hn::Mul(a_lo, b)), lo);
}

// (a + a_lo) / divisor, within 25u^2. REQUIRES: a normal pair.
HWY_INLINE Vector Divide(Vector a, Vector a_lo, const ExactDivisor& divisor,
                         Vector& lo) {
  const Vector reciprocal = Constant(divisor.reciprocal);
  const Vector guess = hn::Mul(a, reciprocal);
  Vector error;
  const Vector product = TwoProduct(guess, Constant(divisor.hi), error);
  const Vector rest = hn::Add(hn::Sub(hn::Sub(a, product), error), a_lo);
  const Vector rest_lo = hn::Mul(guess, Constant(divisor.lo));
  return FastTwoSum(guess, hn::Mul(hn::Sub(rest, rest_lo), reciprocal), lo);
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_DOUBLE_DOUBLE_INL_H_
