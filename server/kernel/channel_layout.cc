#include "server/kernel/channel_layout.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace batchnorm::kernel {

ChannelLayout::ChannelLayout(std::span<const std::int64_t> shape,
                             std::span<const int> channel_axes) {
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const std::int64_t size = shape[axis];
    assert(size >= 0);
    const bool is_channel =
        std::find(channel_axes.begin(), channel_axes.end(),
                  static_cast<int>(axis)) != channel_axes.end();
    (is_channel ? channels_ : count_) *= size;
    if (size == 1) continue;  // belongs to either kind
    if (!axes_.empty() && axes_.back().is_channel == is_channel) {
      axes_.back().size *= size;
    } else {
      axes_.push_back({size, is_channel});
    }
  }
  if (axes_.empty()) axes_.push_back({1, false});
  size_ = channels_ * count_;
}

std::int64_t ChannelLayout::ChannelOf(std::int64_t offset) const {
  assert(offset >= 0 && offset < size_);
  return RunAt(offset, offset + 1).channel;
}

ChannelLayout::Run ChannelLayout::RunAt(std::int64_t offset,
                                        std::int64_t end) const {
  std::int64_t channel = 0;
  std::int64_t stride = 1;  // in channels, of the axis at hand
  std::int64_t rest = offset;
  for (auto axis = axes_.rbegin(); axis != axes_.rend(); ++axis) {
    if (axis->is_channel) {
      channel += rest % axis->size * stride;
      stride *= axis->size;
    }
    rest /= axis->size;
  }
  const MergedAxis& innermost = axes_.back();
  const std::int64_t left = innermost.size - offset % innermost.size;
  return {offset, std::min(left, end - offset), channel,
          innermost.is_channel ? 1 : 0};
}

ChannelLayout::Matrix ChannelLayout::MatrixAt(std::int64_t offset) const {
  assert(offset >= 0 && offset < size_);
  auto axis = axes_.rbegin();
  const auto take = [&](bool is_channel) {
    const bool there = axis != axes_.rend() && axis->is_channel == is_channel;
    return there ? (axis++)->size : std::int64_t{1};
  };
  const std::int64_t inner = take(false);
  const std::int64_t channels = take(true);
  const std::int64_t rows = take(false);
  const std::int64_t columns = channels * inner;
  const std::int64_t first = offset - offset % (rows * columns);
  return {first, rows, columns, inner, RunAt(first, first + 1).channel};
}

}  // namespace batchnorm::kernel
