// Sums of a few exact terms, however much of them cancels: finishing.md,
// "Exact terms".
#if defined(BATCHNORMD_SERVER_KERNEL_EXACT_TERMS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_EXACT_TERMS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_EXACT_TERMS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_EXACT_TERMS_INL_H_
#endif

#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/double_double-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// What may be dropped from a sum, in units of the sum: 64u^2, and one u^2 for
// `lost` being a rounded sum itself.
inline constexpr double kMaxLoss = 0x1p-100;

// A sum is held at two orders of magnitude: a1, a2 and what is lost. Its exact
// value is a1 + a2 + rest with |rest| <= lost, whatever is added where; orders
// only decide how much is lost.
HWY_INLINE void AddSmall(Vector term, Vector& a2, Vector& lost) {
  Vector error;
  a2 = TwoSum(a2, term, error);
  lost = hn::Add(lost, hn::Abs(error));
}

HWY_INLINE void AddMiddle(Vector term, Vector& a1, Vector& a2, Vector& lost) {
  Vector error;
  a1 = TwoSum(a1, term, error);
  AddSmall(error, a2, lost);
}

// term = a * b, of which the lower half is an order smaller.
HWY_INLINE void AddMiddleProduct(Vector a, Vector b, Vector& a1, Vector& a2,
                                 Vector& lost) {
  Vector error;
  AddMiddle(TwoProduct(a, b, error), a1, a2, lost);
  AddSmall(error, a2, lost);
}

HWY_INLINE void AddSmallProduct(Vector a, Vector b, Vector& a2, Vector& lost) {
  Vector error;
  AddSmall(TwoProduct(a, b, error), a2, lost);
  AddSmall(error, a2, lost);
}

// The sum a0 + a1 + a2 + rest, |rest| <= lost, as a normal pair a0 + a1.
// Returns where that is within 65u^2, relative to the sum: where it is 0,
// that is exact. `is_exact` says where nothing at all was dropped.
HWY_INLINE Mask Condense(Vector& a0, Vector& a1, Vector a2, Vector lost,
                         Mask& is_exact) {
  Renormalize(a0, a1, a2);
  const Vector dropped = hn::Add(lost, hn::Abs(a2));
  is_exact = IsZero(dropped);
  return hn::Le(dropped, hn::Mul(hn::Abs(a0), Constant(kMaxLoss)));
}

// What (s0 + s1 + s2) * (d0 + d1 + d2) has more than (s0 + s1) * (d0 + d1): two
// terms, and what is two orders smaller.
HWY_INLINE void AddThirdLimbs(Vector s0, Vector s1, Vector s2, Vector d0,
                              Vector d1, Vector d2, Vector& a2, Vector& lost) {
  AddSmallProduct(s0, d2, a2, lost);
  AddSmallProduct(s2, d0, a2, lost);
  const Vector dropped =
      hn::Add(hn::Abs(hn::Mul(s1, d2)), hn::Abs(hn::Mul(s2, hn::Add(d1, d2))));
  lost = hn::Add(lost, dropped);
}

// n*P - S*D = hi + lo, as Condense has it, for P = p0 + p1 + p2 and less than
// `rest` more or less, S = s0 + s1 + s2 and D = d0 + d1 + d2. With Q for P and
// S for D it is M = n*Q - S^2.
HWY_INLINE Mask ScaledCovariance(Vector n, Vector p0, Vector p1, Vector p2,
                                 Vector rest, Vector s0, Vector s1, Vector s2,
                                 Vector d0, Vector d1, Vector d2, Vector& hi,
                                 Vector& lo, Mask& is_exact) {
  s0 = hn::Neg(s0);
  s1 = hn::Neg(s1);
  Vector np_lo;
  Vector sd_lo;
  Vector a1;
  Vector a2 = hn::Zero(Channels());
  Vector lost = a2;
  const Vector np = TwoProduct(n, p0, np_lo);
  const Vector sd = TwoProduct(s0, d0, sd_lo);
  const Vector a0 = TwoSum(np, sd, a1);
  AddMiddle(np_lo, a1, a2, lost);
  AddMiddle(sd_lo, a1, a2, lost);
  AddMiddleProduct(n, p1, a1, a2, lost);
  // Sums of some thousand ordinary values are that short: half of the work.
  const Mask p_is_short = And(IsZero(p2), IsZero(rest));
  const Mask is_short = And(p_is_short, And(IsZero(s1), IsZero(d1)));
  if (!AllTrue(is_short)) {
    AddMiddleProduct(s0, d1, a1, a2, lost);
    AddMiddleProduct(s1, d0, a1, a2, lost);
    AddSmallProduct(n, p2, a2, lost);
    AddSmallProduct(s1, d1, a2, lost);
    lost = hn::MulAdd(n, rest, lost);
    if (HWY_UNLIKELY(!AllTrue(And(IsZero(s2), IsZero(d2))))) {
      AddThirdLimbs(s0, s1, hn::Neg(s2), d0, d1, d2, a2, lost);
    }
  }
  hi = a0;
  lo = a1;
  return Condense(hi, lo, a2, lost, is_exact);
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_EXACT_TERMS_INL_H_
