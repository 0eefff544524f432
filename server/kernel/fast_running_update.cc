#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "server/kernel/exact_divisor.h"
#include "server/kernel/fast_finish.h"
#include "server/kernel/mix_weights.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_running_update.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "server/kernel/channel_lanes-inl.h"
#include "server/kernel/channel_moments-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

// Eq. 15 for the batch's value b + b_lo, known within 90u^2. The error is
// relative to the terms: what cancels too far is not certain. b_is_nearest says
// where b, also at a tie, is the double nearest to the value.
HWY_INLINE Vector Mix(const MixWeights& weights, Vector old, Vector b,
                      Vector b_lo, Mask b_is_nearest, Mask& certain) {
  Vector kept_lo;
  Vector added_lo;
  Vector lo;
  const Vector kept =
      Multiply(Constant(weights.kept), Constant(weights.kept_lo), old, kept_lo);
  const Vector added = Multiply(b, b_lo, Constant(weights.batch),
                                Constant(weights.batch_lo), added_lo);
  const Vector sum = TwoSum(kept, added, lo);
  const Vector result =
      TwoSum(sum, hn::Add(lo, hn::Add(kept_lo, added_lo)), lo);
  const Vector terms = hn::Add(hn::Abs(kept), hn::Abs(added));
  Mask rounds = RoundsTo(result, lo, hn::Mul(terms, Constant(kAllowedError)));
  if (weights.Replaces()) rounds = Or(rounds, b_is_nearest);
  certain = And(And(IsZeroOrWithin(old, 0x1p-400, 0x1p400),
                    IsZeroOrWithin(terms, 0x1p-800, 0x1p900)),
                rounds);
  return PositiveZero(result);
}

// Eq. 16 and 17 of the channels from i on, for one vector: divisor is
// n * (n - ddof).
HWY_INLINE Mask UpdateVector(const ForwardExpansions& from,
                             const MixWeights& weights, const ExactDivisor& n,
                             const ExactDivisor& divisor, std::size_t i,
                             std::size_t size, double* mean, double* var) {
  Vector sum;
  Vector sum_lo;
  Vector sum_rest;
  Vector m;
  Vector m_lo;
  Mask m_is_exact;
  const Mask known =
      LoadMoments(from, i, sum, sum_lo, sum_rest, m, m_lo, m_is_exact);
  const Vector unit = LoadPadded(from.unit, i);

  Vector new_mean_lo;
  Vector new_var_lo;
  Mask mean_rounds;
  Mask var_rounds;
  const Vector new_mean =
      RoundQuotient(sum, sum_lo, IsZero(sum_rest), n, new_mean_lo, mean_rounds);
  const Vector new_var =
      RoundQuotient(m, m_lo, m_is_exact, divisor, new_var_lo, var_rounds);

  Mask mean_is_certain;
  Mask var_is_certain;
  const Vector old_mean = LoadUpTo(mean, size);
  const Vector old_var = LoadUpTo(var, size);
  const Vector mixed_mean =
      Mix(weights, old_mean, hn::Mul(new_mean, unit),
          hn::Mul(new_mean_lo, unit), mean_rounds, mean_is_certain);
  const Vector mixed_var =
      Mix(weights, old_var, hn::Mul(hn::Mul(new_var, unit), unit),
          hn::Mul(hn::Mul(new_var_lo, unit), unit), var_rounds, var_is_certain);
  const Mask certain = And(known, And(mean_is_certain, var_is_certain));
  StoreUpTo(hn::IfThenElse(certain, mixed_mean, old_mean), mean, size);
  StoreUpTo(hn::IfThenElse(certain, mixed_var, old_var), var, size);
  return certain;
}

void UpdateRunningOn(const ForwardExpansions& from, const MixWeights& weights,
                     std::int64_t freedom, std::span<double> mean,
                     std::span<double> var, std::span<std::uint8_t> certain) {
  const ExactDivisor n = DivisorOf(from.count);
  const ExactDivisor divisor = DivisorOf(from.count, freedom);
  const std::size_t lanes = hn::Lanes(Channels());
  for (std::size_t i = 0; i < mean.size(); i += lanes) {
    const std::size_t size = mean.size() - i;
    const Mask mask =
        UpdateVector(from, weights, n, divisor, i, size, &mean[i], &var[i]);
    StoreUpTo(mask, &certain[i], size);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {
namespace {

bool IsCount(std::int64_t count) { return 1 <= count && count < kMaxFastCount; }

}  // namespace

HWY_EXPORT(UpdateRunningOn);

void FastUpdateRunning(const ForwardExpansions& expansions,
                       const RunningUpdate& update, Degenerate degenerate,
                       std::int64_t batch_count, std::span<double> mean,
                       std::span<double> var, std::span<std::uint8_t> certain) {
  assert(mean.size() == var.size() && certain.size() == mean.size());
  const MixWeights weights = MixWeights::Of(update, batch_count);
  std::int64_t freedom = expansions.count - update.running_ddof;
  if (degenerate == Degenerate::kUnitCorrection && freedom < 1) freedom = 1;
  if (!IsCount(expansions.count) || !IsCount(freedom) ||
      !IsCount(batch_count) || !weights.IsInRange()) {
    std::fill(certain.begin(), certain.end(), std::uint8_t{0});
    return;
  }
  HWY_DYNAMIC_DISPATCH(UpdateRunningOn)
  (expansions, weights, freedom, mean, var, certain);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
