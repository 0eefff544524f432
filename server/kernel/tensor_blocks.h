// Blocks of tensors as doubles, so that one loop serves every dtype.
//
// A block is small enough for the first-level cache. Thread-safe on distinct
// outputs. REQUIRES throughout: a FloatingPointScope.
#ifndef BATCHNORMD_SERVER_KERNEL_TENSOR_BLOCKS_H_
#define BATCHNORMD_SERVER_KERNEL_TENSOR_BLOCKS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "server/kernel/tensor_view.h"

namespace batchnorm::kernel {

inline constexpr std::int64_t kBlockSize = 1024;  // 8 KiB of doubles
using Block = std::array<double, static_cast<std::size_t>(kBlockSize)>;

// Widens the elements of `tensor` from offset `first` on, as many as `values`
// has. REQUIRES: they exist.
void ReadBlock(TensorView tensor, std::int64_t first, std::span<double> values);

// Narrows `values` into `tensor` from offset `first` on. REQUIRES: they fit.
void WriteBlock(std::span<const double> values, std::int64_t first,
                MutableTensorView tensor);

// Part of a tensor as a tensor of doubles. The view lives until the next Read.
class WideBlock {
 public:
  explicit WideBlock(std::int64_t capacity)
      : values_(static_cast<std::size_t>(capacity)) {}

  TensorView Read(TensorView tensor, std::int64_t first, std::int64_t size) {
    const auto block = std::span(values_).first(static_cast<std::size_t>(size));
    ReadBlock(tensor, first, block);
    return {Dtype::kF64, std::as_bytes(block)};
  }

 private:
  std::vector<double> values_;
};

// Calls visit(first, length) for blocks that cover [0, size), in order.
template <typename Visit>
void ForEachBlock(std::int64_t size, Visit&& visit) {
  for (std::int64_t first = 0; first < size; first += kBlockSize) {
    visit(first, std::min(kBlockSize, size - first));
  }
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_TENSOR_BLOCKS_H_
