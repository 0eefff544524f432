#include "server/kernel/finish.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/fast_finish.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/readable_finish.h"
#include "server/kernel/work_split.h"

namespace batchnorm::kernel {
namespace {

template <typename Finish>
void ForEachBlock(ChannelRange range, const Finish& finish) {
  for (std::size_t c = range.first; c < range.end; c += kExpandedChannels) {
    finish(ChannelRange{c, std::min(c + kExpandedChannels, range.end)});
  }
}

// What the fast finishing is certain of in a block; the readable one decides
// the rest.
class Certain {
 public:
  explicit Certain(ChannelRange block) : block_(block) {}

  std::span<std::uint8_t> entries() {
    return std::span(entries_).first(block_.size());
  }

  template <typename Finish>
  void ForEachOther(const Finish& finish) const {
    const std::uint8_t* const begin = entries_.data();
    const std::uint8_t* const end = begin + block_.size();
    const std::uint8_t* at = begin;
    while ((at = Next(at, end)) != nullptr) {
      finish(block_.first + static_cast<std::size_t>(at++ - begin));
    }
  }

 private:
  static const std::uint8_t* Next(const std::uint8_t* at,
                                  const std::uint8_t* end) {
    const auto left = static_cast<std::size_t>(end - at);
    return static_cast<const std::uint8_t*>(std::memchr(at, 0, left));
  }

  ChannelRange block_;
  std::array<std::uint8_t, kExpandedChannels> entries_{};
};

ChannelRange AllOf(const ForwardSums& sums) {
  return {0, static_cast<std::size_t>(sums.channels())};
}

void FinishForwardBlock(const ForwardSums& sums,
                        const ForwardExpansions& expansions, double eps,
                        Degenerate degenerate, ChannelRange block,
                        Statistics& statistics) {
  Certain certain(block);
  FastFinishForward(expansions, eps, block, statistics, certain.entries());
  certain.ForEachOther([&](std::size_t c) {
    readable::FinishForward(sums, eps, degenerate, c, statistics);
  });
}

// For a batch that batch_count counts.
void UpdateRunningBlock(const ForwardSums& sums,
                        const ForwardExpansions& expansions,
                        const RunningUpdate& update, Degenerate degenerate,
                        std::int64_t batch_count, ChannelRange block,
                        std::span<double> mean, std::span<double> var) {
  Certain certain(block);
  FastUpdateRunning(expansions, update, degenerate, batch_count,
                    mean.subspan(block.first, block.size()),
                    var.subspan(block.first, block.size()), certain.entries());
  certain.ForEachOther([&](std::size_t c) {
    readable::UpdateRunning(sums, update, degenerate, batch_count, c, mean[c],
                            var[c]);
  });
}

bool IsEmpty(const ForwardSums& sums) {
  return sums.channels() == 0 || sums.count(0) == 0;
}

Statistics StatisticsRoomOf(const ForwardSums& sums) {
  Statistics statistics = StatisticsRoom(AllOf(sums).size());
  statistics.count = sums.channels() == 0 ? 0 : sums.count(0);
  return statistics;
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
  ForEachBlock(range, [&](ChannelRange block) {
    Expand(sums, block, expansions);
    FinishForwardBlock(sums, expansions, eps, degenerate, block, statistics);
  });
}

void FinishBackwardRange(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate, ChannelRange range,
                         Gradients& gradients) {
  ForwardExpansions of_x;
  BackwardExpansions of_dy;
  ForEachBlock(range, [&](ChannelRange block) {
    Expand(forward, block, of_x);
    Expand(backward, block, of_dy);
    Certain certain(block);
    FastFinishBackward(of_x, of_dy, eps, block, gradients, certain.entries());
    certain.ForEachOther([&](std::size_t c) {
      readable::FinishBackward(forward, backward, eps, degenerate, c,
                               gradients);
    });
  });
}

Statistics FinishForward(const ForwardSums& sums, double eps,
                         Degenerate degenerate, Workers& workers) {
  assert(eps >= 0 && std::isfinite(eps));
  Statistics statistics = StatisticsRoomOf(sums);
  ForEachChannelRange(
      AllOf(sums).size(), workers, [&](std::size_t first, std::size_t end) {
        FinishForwardRange(sums, eps, degenerate, {first, end}, statistics);
      });
  return statistics;
}

Gradients FinishBackward(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate, Workers& workers) {
  assert(forward.channels() == backward.channels());
  const std::size_t channels = AllOf(forward).size();
  Gradients gradients = GradientsRoom(channels);
  ForEachChannelRange(channels, workers,
                      [&](std::size_t first, std::size_t end) {
                        FinishBackwardRange(forward, backward, eps, degenerate,
                                            {first, end}, gradients);
                      });
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
  assert(mean.size() == AllOf(sums).size() && var.size() == mean.size());
  if (IsEmpty(sums)) return;
  const FloatingPointScope scope;
  ++batch_count;
  ForwardExpansions expansions;
  ForEachBlock(AllOf(sums), [&](ChannelRange block) {
    Expand(sums, block, expansions);
    UpdateRunningBlock(sums, expansions, update, degenerate, batch_count, block,
                       mean, var);
  });
}

Statistics FinishForwardAndUpdate(const ForwardSums& sums, double eps,
                                  const RunningUpdate& update,
                                  Degenerate degenerate, std::span<double> mean,
                                  std::span<double> var,
                                  std::int64_t& batch_count) {
  assert(mean.size() == AllOf(sums).size() && var.size() == mean.size());
  const FloatingPointScope scope;
  Statistics statistics = StatisticsRoomOf(sums);
  if (!IsEmpty(sums)) ++batch_count;
  ForwardExpansions expansions;
  ForEachBlock(AllOf(sums), [&](ChannelRange block) {
    Expand(sums, block, expansions);
    FinishForwardBlock(sums, expansions, eps, degenerate, block, statistics);
    if (IsEmpty(sums)) return;
    UpdateRunningBlock(sums, expansions, update, degenerate, batch_count, block,
                       mean, var);
  });
  return statistics;
}

}  // namespace batchnorm::kernel
