// A tensor whose first byte lies anywhere: tensors need no alignment.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_PLACED_TENSOR_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_PLACED_TENSOR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {

class PlacedTensor {
 public:
  PlacedTensor(const TestTensor& tensor, std::size_t offset)
      : dtype_(tensor.dtype()),
        offset_(offset),
        size_(tensor.view().bytes.size()),
        // No byte more: a sanitizer sees a read past the end.
        bytes_(std::make_unique<std::byte[]>(offset + size_)) {
    std::ranges::copy(tensor.view().bytes, bytes_.get() + offset);
  }

  TensorView view() const { return {dtype_, {bytes_.get() + offset_, size_}}; }
  MutableTensorView mutable_view() {
    return {dtype_, {bytes_.get() + offset_, size_}};
  }
  TensorView Slice(std::int64_t first, std::int64_t size) const {
    const std::size_t width = SizeOf(dtype_);
    return {dtype_,
            view().bytes.subspan(static_cast<std::size_t>(first) * width,
                                 static_cast<std::size_t>(size) * width)};
  }
  bool HasBytesOf(const TestTensor& other) const {
    return std::ranges::equal(view().bytes, other.view().bytes);
  }

 private:
  Dtype dtype_;
  std::size_t offset_;
  std::size_t size_;
  std::unique_ptr<std::byte[]> bytes_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_PLACED_TENSOR_H_
