#include <algorithm>
#include <cassert>
#include <cstddef>

#include "server/kernel/exact_divisor.h"
#include "server/kernel/fast_finish.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_finish_backward.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/channel_moments-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// 1/sqrt(var + eps) = hi + lo in 1/units, and S; true where they are known.
HWY_INLINE Mask Normalizer(const ForwardExpansions& from, double eps,
                           const ExactDivisor& n_squared, std::size_t i,
                           Vector inverse_unit, Vector& sum, Vector& sum_lo,
                           Vector& sum_rest, Vector& hi, Vector& lo) {
  Vector m;
  Vector m_lo;
  Vector var_lo;
  Mask unused;
  const Mask known =
      LoadMoments(from, i, sum, sum_lo, sum_rest, m, m_lo, unused);
  const Vector var = Divide(m, m_lo, n_squared, var_lo);
  return And(known, InverseStdOf(var, var_lo, eps, inverse_unit, hi, lo));
}

// N = hi + lo in units * dy_units, and D in dy_units, where they are known.
HWY_INLINE Mask LoadCovariance(const BackwardExpansions& from,
                               const ExactDivisor& n, std::size_t i,
                               Vector inverse_unit, Vector sum, Vector sum_lo,
                               Vector sum_rest, Vector& d, Vector& d_lo,
                               Vector& d_rest, Vector& hi, Vector& lo) {
  const Vector dy_unit = LoadPadded(from.dy_unit, i);
  const Vector product_unit = LoadPadded(from.product_unit, i);
  const Vector ratio =
      hn::Mul(hn::Mul(inverse_unit, InversePowerOfTwo(dy_unit)), product_unit);
  Vector p1;
  Vector p2;
  const Vector p0 = LoadSum(from.sum_dy_x, i, p1, p2);
  const Vector p_rest = LoadPadded(from.rest_of_sum_dy_x, i);
  d = LoadSum(from.sum_dy, i, d_lo, d_rest);
  Mask unused;
  const Mask known =
      ScaledCovariance(Constant(n.hi), hn::Mul(p0, ratio), hn::Mul(p1, ratio),
                       hn::Mul(p2, ratio), hn::Mul(p_rest, ratio), sum, sum_lo,
                       sum_rest, d, d_lo, d_rest, hi, lo, unused);
  const Mask fits = And(hn::Le(hn::Abs(d), Constant(kMaxLimb)),
                        hn::Le(hn::Abs(p0), Constant(kMaxLimb)));
  const Mask ratio_fits = And(IsWithin(ratio, 0x1p-200, 0x1p200),
                              IsWithin(product_unit, 0x1p-600, 0x1p600));
  return And(And(known, fits),
             And(ratio_fits, IsWithin(dy_unit, kMinUnit, kMaxUnit)));
}

// Eq. 11 and 12: with z = inv_std and C = N/n^2, k = (C z) z, dgamma = n C z.
// Within 252 and 175u^2.
HWY_INLINE Mask RoundSlopes(Vector covariance, Vector covariance_lo,
                            Vector inv_std, Vector inv_std_lo,
                            const ExactDivisor& n,
                            const ExactDivisor& n_squared, Vector& dgamma,
                            Vector& k) {
  Vector c_lo;
  Vector product_lo;
  Vector k_lo;
  Vector dgamma_lo;
  const Vector c = Divide(covariance, covariance_lo, n_squared, c_lo);
  const Vector product = Multiply(c, c_lo, inv_std, inv_std_lo, product_lo);
  k = Multiply(product, product_lo, inv_std, inv_std_lo, k_lo);
  dgamma = Multiply(product, product_lo, Constant(n.hi), dgamma_lo);
  return And(RoundsTo(k, k_lo), RoundsTo(dgamma, dgamma_lo));
}

// Eq. 9-12 of one vector of channels: the entries from i on, `channel` and
// after.
HWY_INLINE Mask FinishVector(const ForwardExpansions& forward,
                             const BackwardExpansions& backward, double eps,
                             const ExactDivisor& n,
                             const ExactDivisor& n_squared, std::size_t i,
                             std::size_t channel, std::size_t size,
                             Gradients& to) {
  const Vector inverse_unit = InversePowerOfTwo(LoadPadded(forward.unit, i));
  const Vector dy_unit = LoadPadded(backward.dy_unit, i);
  Vector sum;
  Vector sum_lo;
  Vector sum_rest;
  Vector inv_std;
  Vector inv_std_lo;
  const Mask normalized =
      Normalizer(forward, eps, n_squared, i, inverse_unit, sum, sum_lo,
                 sum_rest, inv_std, inv_std_lo);
  Vector d;
  Vector d_lo;
  Vector d_rest;
  Vector covariance;
  Vector covariance_lo;
  const Mask known =
      LoadCovariance(backward, n, i, inverse_unit, sum, sum_lo, sum_rest, d,
                     d_lo, d_rest, covariance, covariance_lo);
  Vector mean_lo;
  Mask mean_is_certain;
  const Vector mean = RoundMean(d, d_lo, d_rest, n, mean_lo, mean_is_certain);
  Vector dgamma;
  Vector k;
  const Mask slopes_are_certain = RoundSlopes(
      covariance, covariance_lo, inv_std, inv_std_lo, n, n_squared, dgamma, k);
  k = hn::Mul(k, hn::Mul(dy_unit, inverse_unit));

  StoreUpTo(PositiveZero(hn::Mul(dgamma, dy_unit)), &to.dgamma[channel], size);
  StoreUpTo(PositiveZero(hn::Mul(d, dy_unit)), &to.dbeta[channel], size);
  StoreUpTo(PositiveZero(hn::Mul(mean, dy_unit)), &to.mean_dy[channel], size);
  StoreUpTo(PositiveZero(hn::Mul(mean_lo, dy_unit)), &to.mean_dy_lo[channel],
            size);
  StoreUpTo(PositiveZero(k), &to.k[channel], size);
  return And(
      And(And(normalized, known), IsZeroOrWithin(k, 0x1p-1000, 0x1p1000)),
      And(And(IsNearest(d, d_lo, d_rest), mean_is_certain),
          slopes_are_certain));
}

void FinishBackwardOn(const ForwardExpansions& forward,
                      const BackwardExpansions& backward, double eps,
                      ChannelRange range, Gradients& to,
                      std::span<std::uint8_t> certain) {
  const ExactDivisor n = DivisorOf(forward.count);
  const ExactDivisor n_squared = DivisorOf(forward.count, forward.count);
  const std::size_t lanes = hn::Lanes(Channels());
  for (std::size_t i = 0; i < range.size(); i += lanes) {
    const std::size_t size = range.size() - i;
    const Mask mask = FinishVector(forward, backward, eps, n, n_squared, i,
                                   range.first + i, size, to);
    StoreUpTo(mask, &certain[i], size);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(FinishBackwardOn);

void FastFinishBackward(const ForwardExpansions& forward,
                        const BackwardExpansions& backward, double eps,
                        ChannelRange range, Gradients& gradients,
                        std::span<std::uint8_t> certain) {
  assert(certain.size() == range.size() && range.end <= gradients.k.size());
  if (forward.count < 1 || forward.count >= kMaxFastCount) {
    std::fill(certain.begin(), certain.end(), std::uint8_t{0});
    return;
  }
  HWY_DYNAMIC_DISPATCH(FinishBackwardOn)
  (forward, backward, eps, range, gradients, certain);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
