// Where each channel's values lie in a row-major tensor.
//
// Any set of axes may index channels; the others are reduced over. Neighbouring
// axes of one kind are merged, so NCHW becomes (reduced N)(channel C)(reduced
// HW) and every layout becomes an alternation of the two kinds.
// Immutable, hence thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_CHANNEL_LAYOUT_H_
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_LAYOUT_H_

#include <cstdint>
#include <span>
#include <vector>

namespace batchnorm::kernel {

class ChannelLayout {
 public:
  // A maximal stretch of memory within one innermost merged axis: `length`
  // elements from `offset` on. Either all belong to `channel` (channel_step 0),
  // or the i-th belongs to channel + i (channel_step 1).
  struct Run {
    std::int64_t offset;
    std::int64_t length;
    std::int64_t channel;
    int channel_step;
  };

  // A contiguous part of the tensor: `rows` rows of `columns` elements, where
  // column j belongs to channel + j / inner.
  struct Matrix {
    std::int64_t offset;
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t inner;
    std::int64_t channel;
  };

  // REQUIRES: every size is at least 0, and the product of those that are not 0
  // fits in 63 bits; channel_axes are distinct and in [0, shape.size()).
  ChannelLayout(std::span<const std::int64_t> shape,
                std::span<const int> channel_axes);

  std::int64_t size() const { return size_; }          // all elements
  std::int64_t channels() const { return channels_; }  // row-major index space
  std::int64_t count() const { return count_; }        // n, values a channel

  // The channel of the element at a flat offset. REQUIRES: 0 <= offset < size.
  std::int64_t ChannelOf(std::int64_t offset) const;

  // The matrix that holds the element at a flat offset: the innermost axes
  // (reduced, channel, reduced), as many of them as there are.
  Matrix MatrixAt(std::int64_t offset) const;

  // Calls visit(const Run&) for the elements [begin, end), in memory order.
  // The first and the last run may be parts of longer ones.
  template <typename Visit>
  void ForEachRun(std::int64_t begin, std::int64_t end, Visit&& visit) const {
    for (std::int64_t at = begin; at < end;) {
      const Run run = RunAt(at, end);
      visit(run);
      at += run.length;
    }
  }

 private:
  struct MergedAxis {
    std::int64_t size;
    bool is_channel;
  };

  Run RunAt(std::int64_t offset, std::int64_t end) const;

  std::vector<MergedAxis> axes_;  // slowest first, kinds alternate
  std::int64_t size_ = 1;
  std::int64_t channels_ = 1;
  std::int64_t count_ = 1;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_LAYOUT_H_
