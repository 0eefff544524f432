// Shapes that straddle vectors, blocks, strips and closings.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_SHAPES_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/kernel/channel_layout.h"
#include "tests/unit/kernel/hard_batches.h"

namespace batchnorm::kernel {

struct Shape {
  std::vector<std::int64_t> sizes;
  std::vector<int> channel_axes;

  ChannelLayout layout() const { return {sizes, channel_axes}; }
  std::string Text() const;
};

// One to five axes, some of them channels, about `size` elements in all.
Shape RandomShape(std::int64_t size, Random& random);

// N x C, NCHW with planes of every kind, NHWC and one channel.
std::vector<Shape> EdgeShapes();

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_SHAPES_H_
