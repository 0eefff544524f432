// Correct rounding of a pair that is known within an error, where that error
// leaves no doubt (Ziv's test): finishing.md, "Rounding".
#if defined(BATCHNORMD_SERVER_KERNEL_CERTAIN_ROUNDING_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_CERTAIN_ROUNDING_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_CERTAIN_ROUNDING_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_CERTAIN_ROUNDING_INL_H_
#endif

#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/double_double-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// The relative error that is allowed for; what is computed here errs by less
// than a third of it. One result in 2^41 is uncertain because of it.
inline constexpr double kAllowedError = 0x1p-96;

// Whether hi is the double nearest to every number within `error` of hi + lo.
// REQUIRES: hi is nearest to hi + lo; the true error is at most 0.99 * error.
HWY_INLINE Mask RoundsTo(Vector hi, Vector lo, Vector error) {
  const Vector least = hn::Add(hi, hn::Sub(lo, error));
  const Vector greatest = hn::Add(hi, hn::Add(lo, error));
  return And(hn::Eq(least, hi), hn::Eq(greatest, hi));
}

HWY_INLINE Mask RoundsTo(Vector hi, Vector lo) {
  return RoundsTo(hi, lo, hn::Mul(hn::Abs(hi), Constant(kAllowedError)));
}

// Whether (hi + lo) * divisor = a + a_lo, exactly, where hi + lo is near that
// quotient. Misses some, but none of 27 + 53 bits by a divisor of one double.
HWY_INLINE Mask IsExactQuotient(Vector a, Vector a_lo,
                                const ExactDivisor& divisor, Vector hi,
                                Vector lo) {
  const Vector by = Constant(divisor.hi);
  Vector product_lo;
  Vector rest_lo;
  Vector error0;
  Vector error1;
  const Vector product = TwoProduct(hi, by, product_lo);
  const Vector rest = TwoProduct(lo, by, rest_lo);
  const Vector upper = TwoSum(hn::Sub(a, product), a_lo, error0);
  const Vector remainder = TwoSum(upper, hn::Neg(product_lo), error1);
  const Vector unseen =
      hn::Add(hn::Add(hn::Abs(error0), hn::Abs(error1)), hn::Abs(rest_lo));
  return And(And(IsZero(unseen), hn::Eq(remainder, rest)),
             IsZero(Constant(divisor.lo)));
}

// A quotient halfway between two doubles is in doubt at any precision. Finds
// where it is exactly that, and rounds it.
HWY_INLINE Mask RoundTie(Vector a, Vector a_lo, const ExactDivisor& divisor,
                         Vector& hi, Vector& lo) {
  Vector unused;
  const Vector half = Split(lo, unused);  // a power of two, at a tie
  const Mask is_tie = IsExactQuotient(a, a_lo, divisor, hi, half);
  Vector rounded_lo;
  const Vector rounded = FastTwoSum(hi, half, rounded_lo);
  hi = hn::IfThenElse(is_tie, rounded, hi);
  lo = hn::IfThenElse(is_tie, rounded_lo, lo);
  return is_tie;
}

// (a + a_lo) / divisor = result + lo as in Divide; the result is nearest where
// certain. is_exact says where a + a_lo is the dividend without an error.
HWY_INLINE Vector RoundQuotient(Vector a, Vector a_lo, Mask is_exact,
                                const ExactDivisor& divisor, Vector& lo,
                                Mask& certain) {
  if (divisor.is_power_of_two) {
    const Vector reciprocal = Constant(divisor.reciprocal);
    const Vector hi = hn::Mul(a, reciprocal);
    lo = hn::Mul(a_lo, reciprocal);
    certain = Or(is_exact, RoundsTo(hi, lo));
    return hi;
  }
  Vector hi = Divide(a, a_lo, divisor, lo);
  certain = RoundsTo(hi, lo);
  if (HWY_UNLIKELY(!AllTrue(certain))) {
    const Mask is_tie = RoundTie(a, a_lo, divisor, hi, lo);
    certain = Or(certain, And(is_tie, is_exact));
  }
  return hi;
}

// The same for a dividend without an error.
HWY_INLINE Vector RoundQuotient(Vector a, Vector a_lo,
                                const ExactDivisor& divisor, Vector& lo,
                                Mask& certain) {
  const Mask exact = hn::Eq(a, a);
  return RoundQuotient(a, a_lo, exact, divisor, lo, certain);
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_CERTAIN_ROUNDING_INL_H_
