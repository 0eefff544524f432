#include "server/kernel/train.h"

#include <atomic>
#include <cassert>
#include <cstddef>
#include <utility>

#include "server/kernel/box.h"
#include "server/kernel/caches.h"
#include "server/kernel/coefficients.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/finish.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/work_split.h"

namespace batchnorm::kernel {
namespace {

std::size_t Channels(const ChannelLayout& layout) {
  return static_cast<std::size_t>(layout.channels());
}

ChannelRange ChannelsOf(const Box& box) {
  return {static_cast<std::size_t>(box.first_channel()),
          static_cast<std::size_t>(box.end_channel())};
}

// Whether the next group is fetched while one is applied, in calls whose
// tensors take so many bytes: unless these are near the core anyway.
bool FetchesGroups(std::size_t bytes) {
  constexpr std::size_t kNearBytes = std::size_t{4} << 20;
  return bytes > kNearBytes;
}

}  // namespace

TrainBatch TrainForward(const ChannelLayout& layout, TensorView x, double eps,
                        Degenerate degenerate, std::span<const double> gamma,
                        std::span<const double> beta, MutableTensorView y,
                        Workers& workers) {
  const FloatingPointScope scope;
  TrainBatch batch = {ForwardSums(layout.channels(), x.dtype), {}};
  const std::optional<Box> whole = GroupedBox(layout);
  if (!whole) {
    batch.sums.Add(layout, 0, x, workers);
    batch.statistics = FinishForward(batch.sums, eps, degenerate, workers);
    ApplyForward(layout, 0, x, batch.statistics, gamma, beta, y, workers);
    return batch;
  }
  batch.statistics = StatisticsRoom(Channels(layout));
  batch.statistics.count = layout.count();
  const bool fetches = FetchesGroups(x.bytes.size() + y.bytes.size());
  Coefficients coefficients = ForwardRoom(Channels(layout));
  std::atomic<bool> all_are_unscaled = true;
  ForEachGroup(*whole, SizeOf(x.dtype), workers, [&](const Box& group) {
    const ChannelRange range = ChannelsOf(group);
    batch.sums.AddBox(x, group);
    FinishForwardRange(batch.sums, eps, degenerate, range, batch.statistics);
    if (!AreUnscaled(batch.statistics, range)) {
      all_are_unscaled = false;
      return;
    }
    SetForward(batch.statistics, gamma, beta, range, coefficients);
    ApplyBox(
        Formula::kForward, {x.dtype, x.bytes.data(), nullptr, y.bytes.data()},
        group, coefficients,
        {.streams = PlanesStreamOutput(y.bytes.size()),
         .may_be_nan = AnyIsNotFinite(coefficients, range.first, range.end),
         .ahead = fetches ? group.columns : 0});
  });
  if (!all_are_unscaled) {
    ApplyForward(layout, 0, x, batch.statistics, gamma, beta, y);
  }
  return batch;
}

Gradients TrainBackward(const ChannelLayout& layout, TensorView x,
                        TensorView dy, const TrainBatch& batch, double eps,
                        Degenerate degenerate, std::span<const double> gamma,
                        MutableTensorView dx, Workers& workers) {
  const FloatingPointScope scope;
  BackwardSums sums(layout.channels(), x.dtype, dy.dtype);
  const std::optional<Box> whole = GroupedBox(layout);
  if (!whole || x.dtype != dy.dtype ||
      !AreUnscaled(batch.statistics, {0, Channels(layout)})) {
    sums.Add(layout, 0, x, dy, workers);
    Gradients gradients =
        FinishBackward(batch.sums, sums, eps, degenerate, workers);
    ApplyBackward(layout, 0, x, dy, batch.statistics, gradients, gamma, dx,
                  workers);
    return gradients;
  }
  const bool fetches = FetchesGroups(3 * x.bytes.size());
  Gradients gradients = GradientsRoom(Channels(layout));
  Coefficients coefficients = BackwardRoom(Channels(layout));
  ForEachGroup(*whole, 2 * SizeOf(x.dtype), workers, [&](const Box& group) {
    const ChannelRange range = ChannelsOf(group);
    sums.AddBox(x, dy, group);
    FinishBackwardRange(batch.sums, sums, eps, degenerate, range, gradients);
    SetBackward(batch.statistics, gradients, gamma, range, coefficients);
    ApplyBox(
        Formula::kBackward,
        {x.dtype, x.bytes.data(), dy.bytes.data(), dx.bytes.data()}, group,
        coefficients,
        {.streams = PlanesStreamGradient(dx.bytes.size()),
         .may_be_nan = AnyIsNotFinite(coefficients, range.first, range.end),
         .ahead = fetches ? group.columns : 0});
  });
  return gradients;
}

}  // namespace batchnorm::kernel
