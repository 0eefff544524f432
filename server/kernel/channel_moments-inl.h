// What forward, backward and the running update all begin with: S, M and
// 1/sqrt(var + eps) of a vector of channels (finishing.md, "Steps").
#if defined(BATCHNORMD_SERVER_KERNEL_CHANNEL_MOMENTS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_CHANNEL_MOMENTS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_CHANNEL_MOMENTS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_MOMENTS_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "server/kernel/certain_rounding-inl.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/double_double-inl.h"
#include "server/kernel/exact_terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// The range of limbs and units: the rest of the ranges follow.
inline constexpr double kMaxLimb = 0x1p200;
inline constexpr double kMinUnit = 0x1p-300;
inline constexpr double kMaxUnit = 0x1p300;

// +0 for a zero of either sign.
HWY_INLINE Vector PositiveZero(Vector a) {
  return hn::Add(a, hn::Zero(Channels()));
}

// A sum hi + middle + lo, of which hi + middle is a normal pair.
HWY_INLINE Vector LoadSum(const ChannelLimbs& limbs, std::size_t i,
                          Vector& middle, Vector& lo) {
  Vector hi = LoadPadded(limbs[0], i);
  middle = LoadPadded(limbs[1], i);
  lo = LoadPadded(limbs[2], i);
  if (AllTrue(IsZero(lo))) return TwoSum(hi, middle, middle);
  Renormalize(hi, middle, lo);
  return hi;
}

// Whether hi is, for certain, the double nearest to such a sum: lo is less than
// what RoundsTo allows for.
HWY_INLINE Mask IsNearest(Vector hi, Vector middle, Vector lo) {
  return Or(IsZero(lo), RoundsTo(hi, middle));
}

// M = hi + lo in units^2 and S = sum + sum_lo + sum_rest in units, where that
// fits.
HWY_INLINE Mask LoadMoments(const ForwardExpansions& from, std::size_t i,
                            Vector& sum, Vector& sum_lo, Vector& sum_rest,
                            Vector& hi, Vector& lo, Mask& is_exact) {
  Vector q1;
  Vector q2;
  const Vector n = Constant(static_cast<double>(from.count));
  const Vector q0 = LoadSum(from.squares, i, q1, q2);
  const Vector q_rest = LoadPadded(from.rest_of_squares, i);
  sum = LoadSum(from.sum, i, sum_lo, sum_rest);
  const Mask fits = And(hn::Le(hn::Abs(sum), Constant(kMaxLimb)),
                        hn::Le(hn::Abs(q0), Constant(kMaxLimb)));
  const Mask known =
      ScaledCovariance(n, q0, q1, q2, q_rest, sum, sum_lo, sum_rest, sum,
                       sum_lo, sum_rest, hi, lo, is_exact);
  const Vector unit = LoadPadded(from.unit, i);
  return And(And(fits, known), IsWithin(unit, kMinUnit, kMaxUnit));
}

// sum / n, its double, and the rest of it, for a sum hi + lo + sum_rest as of
// LoadSum. Both are nearest where certain (eq. 5, 10).
HWY_INLINE Vector RoundMean(Vector hi, Vector lo, Vector sum_rest,
                            const ExactDivisor& n, Vector& mean_lo,
                            Mask& certain) {
  const Mask sum_is_pair = IsZero(sum_rest);
  const bool all_are_pairs = AllTrue(sum_is_pair);
  // Where the quotient is exact, its second part is the rest.
  if (n.is_power_of_two && all_are_pairs) {
    return RoundQuotient(hi, lo, sum_is_pair, n, mean_lo, certain);
  }
  Vector unused;
  Vector error;
  const Vector mean = RoundQuotient(hi, lo, sum_is_pair, n, unused, certain);
  const Vector product = TwoProduct(mean, Constant(n.hi), error);
  Vector rest = hn::Sub(hi, product);  // exact (Sterbenz)
  Vector rest_lo = lo;
  Vector smallest = hn::Neg(error);
  Vector lost = hn::Zero(Channels());
  if (!all_are_pairs) {
    rest_lo = TwoSum(lo, smallest, smallest);
    AddSmall(sum_rest, smallest, lost);
  }
  Mask is_exact;
  Mask rest_is_certain;
  const Mask known = Condense(rest, rest_lo, smallest, lost, is_exact);
  mean_lo = RoundQuotient(rest, rest_lo, is_exact, n, unused, rest_is_certain);
  certain = And(certain, And(known, rest_is_certain));
  return mean;
}

// 1/sqrt(w + w_lo), within 25u^2. REQUIRES: a normal pair within
// [2^-300, 2^400].
HWY_INLINE Vector InverseSqrt(Vector w, Vector w_lo, Vector& lo) {
  const Vector one = Constant(1);
  const Vector guess = hn::Div(one, hn::Sqrt(w));
  Vector square_lo;
  Vector product_lo;
  const Vector square = TwoProduct(guess, guess, square_lo);
  const Vector product = TwoProduct(square, w, product_lo);
  const Vector crossed = hn::Add(hn::Mul(square, w_lo), hn::Mul(square_lo, w));
  const Vector rest =
      hn::Sub(hn::Sub(hn::Sub(one, product), product_lo), crossed);
  const Vector half_rest = hn::Mul(rest, Constant(0.5));
  return FastTwoSum(guess, hn::Mul(guess, half_rest), lo);
}

// 1/sqrt(var + eps) = hi + lo in 1/units, for var in units^2: within 72u^2
// where the result is true. There its scale is 0 (eq. 8).
HWY_INLINE Mask InverseStdOf(Vector var, Vector var_lo, double eps,
                             Vector inverse_unit, Vector& hi, Vector& lo) {
  Vector scaled_eps =
      hn::Mul(hn::Mul(Constant(eps), inverse_unit), inverse_unit);
  // Beside 2^-300, below, that is nothing.
  scaled_eps =
      hn::IfThenElseZero(hn::Ge(scaled_eps, Constant(0x1p-420)), scaled_eps);
  Vector w_lo;
  Vector w = TwoSum(var, scaled_eps, w_lo);
  w = FastTwoSum(w, hn::Add(w_lo, var_lo), w_lo);
  hi = InverseSqrt(w, w_lo, lo);
  return And(IsWithin(w, 0x1p-300, 0x1p400),
             IsWithin(hn::Mul(hi, inverse_unit), 0x1p-255, 0x1p255));
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_MOMENTS_INL_H_
