// A tensor as client and server hold it: owned bytes with a type and a shape.
// No protobuf here; tensor_codec.h maps to and from batchnorm.v1.Tensor.
#ifndef BATCHNORMD_PROTO_WIRE_TENSOR_H_
#define BATCHNORMD_PROTO_WIRE_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

namespace batchnorm {

enum class Dtype : std::uint8_t { kF16, kBF16, kF32, kF64 };

// Thread-compatible value type. `data` is row-major, little-endian, unpadded.
struct Tensor {
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape = {};
  std::string data = {};
};

}  // namespace batchnorm

#endif  // BATCHNORMD_PROTO_WIRE_TENSOR_H_
