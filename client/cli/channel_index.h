// Which channel an element belongs to: its row-major index over the channel
// axes in ascending order.
#ifndef BATCHNORMD_CLIENT_CLI_CHANNEL_INDEX_H_
#define BATCHNORMD_CLIENT_CLI_CHANNEL_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace batchnorm::cli {

// Immutable, thread-safe.
class ChannelIndex {
 public:
  // REQUIRES: the axes are distinct axes of `shape`; negative ones count from
  // the end; empty means 1.
  ChannelIndex(std::span<const std::int64_t> shape,
               std::span<const std::int32_t> axes);

  // Of the element at a flat row-major offset.
  std::size_t operator()(std::size_t offset) const {
    std::size_t channel = 0;
    for (const Axis& axis : axes_) {
      channel = channel * axis.size + offset / axis.stride % axis.size;
    }
    return channel;
  }

 private:
  struct Axis {
    std::size_t size;
    std::size_t stride;  // elements from one index to the next
  };
  std::vector<Axis> axes_;  // ascending
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_CHANNEL_INDEX_H_
