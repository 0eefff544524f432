#include "client/response_reader.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/tensor_codec.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::client {
namespace {

std::string Describe(const v1::Tensor& tensor) {
  return absl::StrCat("dtype ", static_cast<int>(tensor.dtype()), ", shape [",
                      absl::StrJoin(tensor.shape(), ", "), "] and ",
                      tensor.data().size(), " bytes");
}

bool IsComplete(const v1::Tensor& tensor) {
  const std::optional<Dtype> dtype = wire::FromProto(tensor.dtype());
  if (!dtype.has_value()) return false;
  const std::span shape(tensor.shape().data(),
                        static_cast<std::size_t>(tensor.shape_size()));
  return ByteCount(*dtype, shape) ==
         static_cast<std::int64_t>(tensor.data().size());
}

}  // namespace

void ResponseReader::Refuse(const v1::Tensor& tensor, const char* field,
                            const char* expected) {
  if (!status_.ok()) return;
  status_ = absl::InternalError(
      absl::StrCat("the server's ", field, " breaks the contract: expected ",
                   expected, ", got ", Describe(tensor)));
}

Tensor ResponseReader::Read(v1::Tensor&& tensor, const char* field) {
  if (IsComplete(tensor)) {
    return wire::FromProto(std::move(tensor)).value_or(Tensor());
  }
  Refuse(tensor, field, "a known dtype and the bytes that dtype and shape ask");
  return {};
}

std::vector<double> ResponseReader::ReadVector(const v1::Tensor& tensor,
                                               const char* field) {
  if (tensor.dtype() == v1::DTYPE_F64 && tensor.data().size() % 8 == 0) {
    return ToDoubles({.dtype = Dtype::kF64, .data = tensor.data()});
  }
  Refuse(tensor, field, "F64 (dtype 4)");
  return {};
}

}  // namespace batchnorm::client
