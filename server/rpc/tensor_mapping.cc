#include "server/rpc/tensor_mapping.h"

#include <bit>
#include <memory>
#include <utility>

#include "proto/wire/tensor_codec.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are little-endian on the wire and in memory");

kernel::Dtype ToKernel(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return kernel::Dtype::kF16;
    case Dtype::kBF16:
      return kernel::Dtype::kBF16;
    case Dtype::kF32:
      return kernel::Dtype::kF32;
    case Dtype::kF64:
      break;
  }
  return kernel::Dtype::kF64;
}

Dtype ToWire(kernel::Dtype dtype) {
  switch (dtype) {
    case kernel::Dtype::kF16:
      return Dtype::kF16;
    case kernel::Dtype::kBF16:
      return Dtype::kBF16;
    case kernel::Dtype::kF32:
      return Dtype::kF32;
    case kernel::Dtype::kF64:
      break;
  }
  return Dtype::kF64;
}

}  // namespace

absl::StatusOr<session::Tensor> TakeTensor(v1::Tensor& tensor,
                                           std::string_view field) {
  const int number = tensor.dtype();
  std::optional<Tensor> taken = wire::FromProto(std::move(tensor));
  if (!taken) {
    return session::InvalidField(
        std::string(field) + ".dtype", "UNKNOWN_DTYPE",
        "expected DTYPE_F16 (1), DTYPE_BF16 (2), DTYPE_F32 (3) "
        "or DTYPE_F64 (4), got " +
            std::to_string(number));
  }
  return session::Tensor{
      .dtype = ToKernel(taken->dtype),
      .shape = std::move(taken->shape),
      .data = std::make_shared<const std::string>(std::move(taken->data))};
}

absl::StatusOr<std::optional<session::Tensor>> TakeOptionalTensor(
    v1::Tensor* tensor, std::string_view field) {
  if (tensor == nullptr) return std::optional<session::Tensor>();
  absl::StatusOr<session::Tensor> taken = TakeTensor(*tensor, field);
  if (!taken.ok()) return taken.status();
  return std::optional<session::Tensor>(*std::move(taken));
}

absl::StatusOr<session::Tensor> TakeRequiredTensor(
    v1::Tensor* tensor, std::string_view field,
    std::string_view reason_if_absent) {
  if (tensor != nullptr) return TakeTensor(*tensor, field);
  return session::InvalidField(field, reason_if_absent,
                               "expected a tensor, the request holds none");
}

v1::Tensor ToProto(kernel::Dtype dtype, std::vector<std::int64_t> shape,
                   std::string data) {
  return wire::ToProto(Tensor{.dtype = ToWire(dtype),
                              .shape = std::move(shape),
                              .data = std::move(data)});
}

v1::Tensor ToProto(const std::vector<double>& channels) {
  std::string data;
  if (!channels.empty()) {  // an empty vector has no address to copy from
    data.assign(reinterpret_cast<const char*>(channels.data()),
                channels.size() * sizeof(double));
  }
  return ToProto(kernel::Dtype::kF64,
                 {static_cast<std::int64_t>(channels.size())}, std::move(data));
}

}  // namespace batchnorm::rpc
