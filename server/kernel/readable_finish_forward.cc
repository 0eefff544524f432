#include <cassert>
#include <cmath>
#include <cstddef>
#include <limits>

#include "server/kernel/batch_norm.h"
#include "server/kernel/finish.h"
#include "server/kernel/float_formats.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/inverse_std.h"
#include "server/kernel/moments.h"
#include "server/kernel/readable_finish.h"
#include "server/kernel/rounding.h"

namespace batchnorm::kernel {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// One channel of Statistics.
struct ChannelStatistics {
  double mean = kNan;
  double mean_lo = kNan;
  double var = kNan;
  InverseStd inv_std = {kNan, kNan, 0};
  double scaled_mean_lo = kNan;
};

void Set(const ChannelStatistics& channel, std::size_t i,
         Statistics& statistics) {
  statistics.mean[i] = channel.mean;
  statistics.mean_lo[i] = channel.mean_lo;
  statistics.var[i] = channel.var;
  statistics.inv_std[i] = channel.inv_std.value;
  statistics.scaled_inv_std[i] = channel.inv_std.scaled;
  statistics.scaled_mean_lo[i] = channel.scaled_mean_lo;
  statistics.scale[i] = channel.inv_std.scale;
}

// Eq. 5-8.
ChannelStatistics Finish(const Moments& m, double eps, Degenerate degenerate) {
  ChannelStatistics result;
  result.mean = RoundQuotient(m.S, m.n);
  const Dyadic rest = m.S - m.n * Dyadic::FromDouble(result.mean);
  result.mean_lo = RoundQuotient(rest, m.n);
  result.var = RoundQuotient(m.M, m.n2);
  result.inv_std = RoundInverseStd(m.n2, m.SquaredStd(eps), degenerate);
  const int scale = result.inv_std.scale;
  result.scaled_mean_lo =
      scale == 0 ? result.mean_lo
                 : RoundQuotient(rest * Dyadic::PowerOfTwo(scale), m.n);
  return result;
}

ChannelStatistics FinishNonFinite(const ExactSum& sum) {
  ChannelStatistics result;
  result.mean = sum.ToDouble();
  result.mean_lo = result.scaled_mean_lo = 0;
  return result;
}

ChannelStatistics FinishChannel(const ForwardSums& sums, std::int64_t channel,
                                double eps, Degenerate degenerate) {
  if (!IsFinite(sums, channel)) return FinishNonFinite(sums.sum(channel));
  if (sums.count(channel) == 0) return ChannelStatistics();
  return Finish(Moments(sums, channel), eps, degenerate);
}

}  // namespace

namespace readable {

void FinishForward(const ForwardSums& sums, double eps, Degenerate degenerate,
                   std::size_t channel, Statistics& statistics) {
  Set(FinishChannel(sums, static_cast<std::int64_t>(channel), eps, degenerate),
      channel, statistics);
}

}  // namespace readable

Statistics FromRunning(std::span<const double> mean,
                       std::span<const double> var, double eps,
                       Degenerate degenerate) {
  assert(mean.size() == var.size() && eps >= 0 && std::isfinite(eps));
  const FloatingPointScope scope;
  Statistics statistics = StatisticsRoom(mean.size());
  for (std::size_t c = 0; c < mean.size(); ++c) {
    Set({Canonical(mean[c]), 0, Canonical(var[c]),
         RunningInverseStd(var[c], eps, degenerate), 0},
        c, statistics);
  }
  return statistics;
}

}  // namespace batchnorm::kernel
