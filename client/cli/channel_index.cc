#include "client/cli/channel_index.h"

#include <algorithm>

namespace batchnorm::cli {

ChannelIndex::ChannelIndex(std::span<const std::int64_t> shape,
                           std::span<const std::int32_t> axes) {
  std::vector<std::size_t> sorted;
  for (const std::int32_t axis : axes) {
    const auto rank = static_cast<std::int32_t>(shape.size());
    sorted.push_back(static_cast<std::size_t>(axis < 0 ? axis + rank : axis));
  }
  if (sorted.empty()) sorted.push_back(1);
  std::ranges::sort(sorted);
  for (const std::size_t axis : sorted) {
    std::size_t stride = 1;
    for (const std::int64_t size : shape.subspan(axis + 1)) {
      stride *= static_cast<std::size_t>(size);
    }
    axes_.push_back({static_cast<std::size_t>(shape[axis]), stride});
  }
}

}  // namespace batchnorm::cli
