#include <algorithm>
#include <cassert>
#include <cstddef>

#include "server/kernel/exact_divisor.h"
#include "server/kernel/fast_finish.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_finish_forward.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/channel_moments-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// Eq. 5-8 of one vector of channels: the entries from i on, `channel` and
// after.
HWY_INLINE Mask FinishVector(const ForwardExpansions& from, double eps,
                             const ExactDivisor& n,
                             const ExactDivisor& n_squared, std::size_t i,
                             std::size_t channel, std::size_t size,
                             Statistics& to) {
  Vector sum;
  Vector sum_lo;
  Vector sum_rest;
  Vector m;
  Vector m_lo;
  Mask m_is_exact;
  Mask certain =
      LoadMoments(from, i, sum, sum_lo, sum_rest, m, m_lo, m_is_exact);
  const Vector unit = LoadPadded(from.unit, i);
  const Vector inverse_unit = InversePowerOfTwo(unit);

  Vector mean_lo;
  Mask mean_is_certain;
  const Vector mean =
      RoundMean(sum, sum_lo, sum_rest, n, mean_lo, mean_is_certain);

  Vector var_lo;
  Mask var_is_certain;
  const Vector var =
      RoundQuotient(m, m_lo, m_is_exact, n_squared, var_lo, var_is_certain);

  Vector inv_std;
  Vector inv_std_lo;
  const Mask in_range =
      InverseStdOf(var, var_lo, eps, inverse_unit, inv_std, inv_std_lo);
  certain = And(
      And(certain, in_range),
      And(And(mean_is_certain, var_is_certain), RoundsTo(inv_std, inv_std_lo)));

  StoreUpTo(PositiveZero(hn::Mul(mean, unit)), &to.mean[channel], size);
  const Vector rest = PositiveZero(hn::Mul(mean_lo, unit));
  StoreUpTo(rest, &to.mean_lo[channel], size);
  StoreUpTo(rest, &to.scaled_mean_lo[channel], size);
  StoreUpTo(PositiveZero(hn::Mul(hn::Mul(var, unit), unit)), &to.var[channel],
            size);
  const Vector unscaled = hn::Mul(inv_std, inverse_unit);
  StoreUpTo(unscaled, &to.inv_std[channel], size);
  StoreUpTo(unscaled, &to.scaled_inv_std[channel], size);
  return certain;
}

void FinishForwardOn(const ForwardExpansions& from, double eps,
                     ChannelRange range, Statistics& to,
                     std::span<std::uint8_t> certain) {
  const ExactDivisor n = DivisorOf(from.count);
  const ExactDivisor n_squared = DivisorOf(from.count, from.count);
  const std::size_t lanes = hn::Lanes(Channels());
  for (std::size_t i = 0; i < range.size(); i += lanes) {
    const std::size_t size = range.size() - i;
    const Mask mask =
        FinishVector(from, eps, n, n_squared, i, range.first + i, size, to);
    StoreUpTo(mask, &certain[i], size);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(FinishForwardOn);

void FastFinishForward(const ForwardExpansions& expansions, double eps,
                       ChannelRange range, Statistics& statistics,
                       std::span<std::uint8_t> certain) {
  assert(certain.size() == range.size() && range.end <= statistics.mean.size());
  std::fill_n(statistics.scale.data() + range.first, range.size(), 0);
  if (expansions.count < 1 || expansions.count >= kMaxFastCount) {
    std::fill(certain.begin(), certain.end(), std::uint8_t{0});
    return;
  }
  HWY_DYNAMIC_DISPATCH(FinishForwardOn)
  (expansions, eps, range, statistics, certain);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
