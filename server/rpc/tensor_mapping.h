// Tensors of requests and replies. Payloads are moved, never copied.
// Functions are pure and thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_TENSOR_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_TENSOR_MAPPING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "batchnorm/v1/tensor.pb.h"
#include "server/kernel/tensor_view.h"
#include "server/session/tensor.h"

namespace batchnorm::rpc {

// INVALID_ARGUMENT `UNKNOWN_DTYPE`, naming `field` + ".dtype". Shape and data
// are taken as they are: session::CheckTensor judges them.
absl::StatusOr<session::Tensor> TakeTensor(v1::Tensor& tensor,
                                           std::string_view field);

// As above; empty where the request does not hold the tensor (null).
absl::StatusOr<std::optional<session::Tensor>> TakeOptionalTensor(
    v1::Tensor* tensor, std::string_view field);

// As TakeTensor; INVALID_ARGUMENT with `reason_if_absent` where the request
// does not hold the tensor (null).
absl::StatusOr<session::Tensor> TakeRequiredTensor(
    v1::Tensor* tensor, std::string_view field,
    std::string_view reason_if_absent);

v1::Tensor ToProto(kernel::Dtype dtype, std::vector<std::int64_t> shape,
                   std::string data);

// Numbers per channel: F64, shape [channels].
v1::Tensor ToProto(const std::vector<double>& channels);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_TENSOR_MAPPING_H_
