// How a tensor's work is cut: into parts for threads, and into groups of
// channels that fit a cache. Cuts show in the time, never in the bits.
#ifndef BATCHNORMD_SERVER_KERNEL_WORK_SPLIT_H_
#define BATCHNORMD_SERVER_KERNEL_WORK_SPLIT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "server/kernel/box.h"
#include "server/kernel/channel_layout.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/workers.h"

namespace batchnorm::kernel {

// Less than this is not worth waking a thread for.
inline constexpr std::int64_t kElementsATask = std::int64_t{1} << 14;

// Whole cache lines of columns, so that threads share none.
inline constexpr std::int64_t kColumnStep = 64;

// Calls visit(part, i) for boxes that make up `box`, i counting them from 0 and
// below workers.threads() * parts_a_thread, from the workers' threads. Parts
// are whole rows where there are enough, else columns of all rows.
template <typename Visit>
void ForEachPart(const Box& box, std::int64_t parts_a_thread, Workers& workers,
                 const Visit& visit) {
  const std::int64_t elements = box.rows * box.columns;
  const std::int64_t parts =
      std::min(elements / kElementsATask, workers.threads() * parts_a_thread);
  if (workers.threads() == 1 || parts <= 1) return visit(box, 0);
  const bool by_rows = box.rows >= parts;
  const std::int64_t size = by_rows ? box.rows : box.columns;
  std::int64_t step = (size + parts - 1) / parts;
  if (!by_rows) step = (step + kColumnStep - 1) / kColumnStep * kColumnStep;
  workers.Run((size + step - 1) / step, [&](std::int64_t i) {
    const FloatingPointScope scope;
    const std::int64_t first = i * step;
    const std::int64_t count = std::min(step, size - first);
    visit(by_rows ? box.Rows(first, count) : box.Columns(first, count), i);
  });
}

// Whether each thread had better take channels of its own, all their rows.
// Nothing needs to be merged then, which where a channel has few values takes
// as long as to sum them. But parts of rows are slower to come from memory than
// whole ones.
inline bool SplitsByChannel(const Box& box, const Workers& workers) {
  constexpr std::int64_t kLeastColumns = 512;
  constexpr std::int64_t kMostRowsAColumn = 16;
  const std::int64_t columns = box.columns / workers.threads();
  return box.HasChannelAColumn() && columns >= kLeastColumns &&
         box.rows <= kMostRowsAColumn * columns &&
         box.rows * columns >= kElementsATask;
}

// Calls visit(part) for boxes of all rows that make up `box`, one a thread.
template <typename Visit>
void ForEachThreadsColumns(const Box& box, Workers& workers,
                           const Visit& visit) {
  const std::int64_t steps = (box.columns + kColumnStep - 1) / kColumnStep;
  const std::int64_t step =
      (steps + workers.threads() - 1) / workers.threads() * kColumnStep;
  workers.Run((box.columns + step - 1) / step, [&](std::int64_t i) {
    const FloatingPointScope scope;
    visit(box.Columns(i * step, std::min(step, box.columns - i * step)));
  });
}

// Calls visit(first, end) for ranges that make up so many channels, from the
// workers' threads.
template <typename Visit>
void ForEachChannelRange(std::size_t channels, Workers& workers,
                         const Visit& visit) {
  constexpr std::size_t kChannelsATask = 64;
  const auto threads = static_cast<std::size_t>(workers.threads());
  const std::size_t tasks =
      std::clamp<std::size_t>(channels / kChannelsATask, 1, threads);
  workers.Run(static_cast<std::int64_t>(tasks), [&](std::int64_t task) {
    const FloatingPointScope scope;
    const auto i = static_cast<std::size_t>(task);
    visit(channels * i / tasks, channels * (i + 1) / tasks);
  });
}

// What a group's tensors may take of the second-level cache.
inline constexpr std::int64_t kGroupBytes = std::int64_t{1} << 18;
// With fewer columns a channel, a group's rows are too short for the memory.
inline constexpr std::int64_t kLeastGroupInner = 4;

// The tensor as one box, if it is one whose channels can be summed, finished
// and applied in groups.
inline std::optional<Box> GroupedBox(const ChannelLayout& layout) {
  if (layout.size() == 0) return std::nullopt;
  const ChannelLayout::Matrix m = layout.MatrixAt(0);
  if (m.rows * m.columns != layout.size()) return std::nullopt;
  const bool is_small = layout.size() <= kElementsATask;
  if (m.inner < kLeastGroupInner && !is_small) return std::nullopt;
  return Box{0, m.rows, m.columns, m.columns, m.inner, 0, m.channel};
}

// Calls visit(group) for boxes of whole channels that make up `whole`, from the
// workers' threads. An element of all tensors together has `element_bytes`.
template <typename Visit>
void ForEachGroup(const Box& whole, std::size_t element_bytes, Workers& workers,
                  const Visit& visit) {
  constexpr std::int64_t kTasksAThread = 4;
  const std::int64_t channels = whole.columns / whole.inner;
  const std::int64_t channel_bytes =
      whole.rows * whole.inner * static_cast<std::int64_t>(element_bytes);
  const std::int64_t most_tasks =
      workers.threads() == 1 ? 1
                             : std::clamp<std::int64_t>(
                                   whole.rows * whole.columns / kElementsATask,
                                   1, workers.threads() * kTasksAThread);
  const std::int64_t most_channels =
      std::min(kGroupBytes / channel_bytes, channels / most_tasks);
  const std::int64_t group = std::max<std::int64_t>(1, most_channels);
  const std::int64_t groups = (channels + group - 1) / group;
  // A thread takes groups that follow each other: while it applies one it
  // fetches the next.
  const std::int64_t tasks = std::min(groups, most_tasks);
  workers.Run(tasks, [&](std::int64_t task) {
    const FloatingPointScope scope;
    const std::int64_t end = groups * (task + 1) / tasks;
    for (std::int64_t i = groups * task / tasks; i < end; ++i) {
      const std::int64_t first = i * group;
      const std::int64_t count = std::min(group, channels - first);
      visit(whole.Columns(first * whole.inner, count * whole.inner));
    }
  });
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_WORK_SPLIT_H_
