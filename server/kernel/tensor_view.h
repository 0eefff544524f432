// Tensors as the kernel sees them: borrowed bytes with a type.
//
// The bytes are little-endian, row-major and unpadded, and need no alignment.
// Views do not own; the caller keeps the bytes alive. Thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_TENSOR_VIEW_H_
#define BATCHNORMD_SERVER_KERNEL_TENSOR_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace batchnorm::kernel {

enum class Dtype : std::uint8_t { kF16, kBF16, kF32, kF64 };

// Bytes of one element.
constexpr std::size_t SizeOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
    case Dtype::kBF16:
      return 2;
    case Dtype::kF32:
      return 4;
    case Dtype::kF64:
      return 8;
  }
  return 0;
}

// REQUIRES (both): bytes.size() is a multiple of SizeOf(dtype).
struct TensorView {
  Dtype dtype;
  std::span<const std::byte> bytes;

  std::int64_t size() const {
    return static_cast<std::int64_t>(bytes.size() / SizeOf(dtype));
  }
};

struct MutableTensorView {
  Dtype dtype;
  std::span<std::byte> bytes;

  std::int64_t size() const {
    return static_cast<std::int64_t>(bytes.size() / SizeOf(dtype));
  }
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_TENSOR_VIEW_H_
