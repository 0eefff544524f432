#include "server/kernel/finish.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/fast_finish.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/readable_finish.h"

namespace batchnorm::kernel {
namespace {

using Certain = std::vector<std::uint8_t>;

// What the fast finishing is not certain of, the readable one decides.
template <typename Finish>
void ForEachUncertain(const Certain& certain, ChannelRange range,
                      const Finish& finish) {
  for (std::size_t i = 0; i < range.size(); ++i) {
    if (certain[i] == 0) finish(range.first + i);
  }
}

ChannelRange AllOf(const ForwardSums& sums) {
  return {0, static_cast<std::size_t>(sums.channels())};
}

}  // namespace

Statistics StatisticsRoom(std::size_t channels) {
  Statistics statistics;
  statistics.mean.resize(channels);
  statistics.mean_lo.resize(channels);
  statistics.var.resize(channels);
  statistics.inv_std.resize(channels);
  statistics.scaled_inv_std.resize(channels);
  statistics.scaled_mean_lo.resize(channels);
  statistics.scale.resize(channels);
  return statistics;
}

Gradients GradientsRoom(std::size_t channels) {
  Gradients gradients;
  gradients.dgamma.resize(channels);
  gradients.dbeta.resize(channels);
  gradients.mean_dy.resize(channels);
  gradients.mean_dy_lo.resize(channels);
  gradients.k.resize(channels);
  return gradients;
}

void FinishForwardRange(const ForwardSums& sums, double eps,
                        Degenerate degenerate, ChannelRange range,
                        Statistics& statistics) {
  ForwardExpansions expansions;
  Expand(sums, range, expansions);
  Certain certain(range.size());
  FastFinishForward(expansions, eps, range, statistics, certain);
  ForEachUncertain(certain, range, [&](std::size_t c) {
    readable::FinishForward(sums, eps, degenerate, c, statistics);
  });
}

void FinishBackwardRange(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate, ChannelRange range,
                         Gradients& gradients) {
  ForwardExpansions of_x;
  BackwardExpansions of_dy;
  Expand(forward, range, of_x);
  Expand(backward, range, of_dy);
  Certain certain(range.size());
  FastFinishBackward(of_x, of_dy, eps, range, gradients, certain);
  ForEachUncertain(certain, range, [&](std::size_t c) {
    readable::FinishBackward(forward, backward, eps, degenerate, c, gradients);
  });
}

Statistics FinishForward(const ForwardSums& sums, double eps,
                         Degenerate degenerate) {
  assert(eps >= 0 && std::isfinite(eps));
  const FloatingPointScope scope;
  const auto channels = static_cast<std::size_t>(sums.channels());
  Statistics statistics = StatisticsRoom(channels);
  statistics.count = channels == 0 ? 0 : sums.count(0);
  FinishForwardRange(sums, eps, degenerate, {0, channels}, statistics);
  return statistics;
}

Gradients FinishBackward(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate) {
  assert(forward.channels() == backward.channels());
  const FloatingPointScope scope;
  const auto channels = static_cast<std::size_t>(forward.channels());
  Gradients gradients = GradientsRoom(channels);
  FinishBackwardRange(forward, backward, eps, degenerate, {0, channels},
                      gradients);
  return gradients;
}

namespace {

// Whether value / divisor is exactly what a double holds.
bool DividesExactly(double value, std::int64_t divisor) {
  if (!std::has_single_bit(static_cast<std::uint64_t>(divisor))) return false;
  return value == 0 || std::isnormal(value / static_cast<double>(divisor));
}

}  // namespace

void AverageOverRanks(const ForwardSums& forward, const BackwardSums& backward,
                      double eps, Degenerate degenerate, std::int64_t ranks,
                      Gradients& gradients) {
  assert(ranks >= 1);
  const FloatingPointScope scope;
  for (std::size_t c = 0; c < gradients.dgamma.size(); ++c) {
    double& dgamma = gradients.dgamma[c];
    double& dbeta = gradients.dbeta[c];
    if (DividesExactly(dgamma, ranks) && DividesExactly(dbeta, ranks)) {
      dgamma /= static_cast<double>(ranks);
      dbeta /= static_cast<double>(ranks);
    } else {
      readable::AverageOverRanks(forward, backward, eps, degenerate, ranks, c,
                                 dgamma, dbeta);
    }
  }
}

void UpdateRunning(const ForwardSums& sums, const RunningUpdate& update,
                   Degenerate degenerate, std::span<double> mean,
                   std::span<double> var, std::int64_t& batch_count) {
  assert(mean.size() == static_cast<std::size_t>(sums.channels()) &&
         var.size() == mean.size());
  if (sums.channels() == 0 || sums.count(0) == 0) return;
  const FloatingPointScope scope;
  ++batch_count;
  ForwardExpansions expansions;
  Expand(sums, AllOf(sums), expansions);
  Certain certain(mean.size());
  FastUpdateRunning(expansions, update, degenerate, batch_count, mean, var,
                    certain);
  ForEachUncertain(certain, AllOf(sums), [&](std::size_t c) {
    readable::UpdateRunning(sums, update, degenerate, batch_count, c, mean[c],
                            var[c]);
  });
}

}  // namespace batchnorm::kernel
