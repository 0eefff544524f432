#include "proto/wire/tensor_codec.h"

#include <utility>

namespace batchnorm::wire {

v1::Dtype ToProto(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return v1::DTYPE_F16;
    case Dtype::kBF16:
      return v1::DTYPE_BF16;
    case Dtype::kF32:
      return v1::DTYPE_F32;
    case Dtype::kF64:
      return v1::DTYPE_F64;
  }
  return v1::DTYPE_UNSPECIFIED;
}

std::optional<Dtype> FromProto(v1::Dtype dtype) {
  switch (dtype) {
    case v1::DTYPE_F16:
      return Dtype::kF16;
    case v1::DTYPE_BF16:
      return Dtype::kBF16;
    case v1::DTYPE_F32:
      return Dtype::kF32;
    case v1::DTYPE_F64:
      return Dtype::kF64;
    default:  // also values of a newer contract: proto3 enums are open
      return std::nullopt;
  }
}

v1::Tensor ToProto(Tensor tensor) {
  v1::Tensor proto;
  proto.set_dtype(ToProto(tensor.dtype));
  proto.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
  *proto.mutable_data() = std::move(tensor.data);
  return proto;
}

std::optional<Tensor> FromProto(v1::Tensor&& tensor) {
  const std::optional<Dtype> dtype = FromProto(tensor.dtype());
  if (!dtype.has_value()) return std::nullopt;
  return Tensor{.dtype = *dtype,
                .shape = {tensor.shape().begin(), tensor.shape().end()},
                .data = std::move(*tensor.mutable_data())};
}

}  // namespace batchnorm::wire
