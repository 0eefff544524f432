// Tensors between batchnorm::Tensor and batchnorm.v1.Tensor. Payloads are
// moved, never copied. Functions are pure and thread-safe.
#ifndef BATCHNORMD_PROTO_WIRE_TENSOR_CODEC_H_
#define BATCHNORMD_PROTO_WIRE_TENSOR_CODEC_H_

#include <optional>

#include "batchnorm/v1/tensor.pb.h"
#include "proto/wire/tensor.h"

namespace batchnorm::wire {

v1::Dtype ToProto(Dtype dtype);
// Empty for DTYPE_UNSPECIFIED and for values this build does not know.
std::optional<Dtype> FromProto(v1::Dtype dtype);

v1::Tensor ToProto(Tensor tensor);
// Empty where the dtype is unknown; shape and data are taken as they are.
std::optional<Tensor> FromProto(v1::Tensor&& tensor);

}  // namespace batchnorm::wire

#endif  // BATCHNORMD_PROTO_WIRE_TENSOR_CODEC_H_
