#include "server/session/tensor.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/kernel/batch_norm.h"
#include "server/session/config.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

std::int64_t DataSize(const Tensor& tensor) {
  return tensor.data ? static_cast<std::int64_t>(tensor.data->size()) : 0;
}

// The product, with sizes of 0 left out; empty where it overflows.
std::optional<std::int64_t> ProductOfNonzero(
    const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) {
    if (size == 0) continue;
    if (__builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return product;
}

bool HasZero(const std::vector<std::int64_t>& shape) {
  return std::find(shape.begin(), shape.end(), 0) != shape.end();
}

std::int64_t ElementCount(const std::vector<std::int64_t>& shape) {
  return HasZero(shape) ? 0 : ProductOfNonzero(shape).value_or(0);
}

absl::Status CheckSizes(const Tensor& tensor, const std::string& field) {
  const std::size_t rank = tensor.shape.size();
  if (rank < 1 || rank > static_cast<std::size_t>(kMaxRank)) {
    return InvalidField(
        field, "BAD_TENSOR",
        absl::StrCat("expected 1 to ", kMaxRank, " dimensions, got ", rank));
  }
  for (std::size_t i = 0; i < rank; ++i) {
    if (tensor.shape[i] >= 0) continue;
    return InvalidField(field, "BAD_TENSOR",
                        absl::StrCat("expected sizes of at least 0, got ",
                                     tensor.shape[i], " in dimension ", i));
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const Tensor& tensor, const std::string& field) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::optional<std::int64_t> count = ProductOfNonzero(tensor.shape);
  if (!count.has_value()) {
    return InvalidField(
        field, "BAD_TENSOR",
        absl::StrCat("element count overflow: expected a product of at most ",
                     kMost, ", got ", Text(tensor.shape)));
  }
  const auto size = static_cast<std::int64_t>(SizeOf(tensor.dtype));
  if (*count <= kMost / size) return absl::OkStatus();
  return InvalidField(
      field, "BAD_TENSOR",
      absl::StrCat("byte size overflow: expected at most ", kMost,
                   " bytes, got ", *count, " elements of ", size, " bytes"));
}

absl::Status CheckData(const Tensor& tensor, const std::string& field,
                       std::int64_t max_bytes) {
  const std::int64_t bytes = ElementCount(tensor.shape) *
                             static_cast<std::int64_t>(SizeOf(tensor.dtype));
  if (DataSize(tensor) != bytes) {
    return InvalidField(field, "BAD_TENSOR",
                        absl::StrCat("expected ", bytes, " bytes for ",
                                     Text(tensor), ", got ", DataSize(tensor)));
  }
  if (bytes <= max_bytes) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(field, ": expected at most ", max_bytes, " bytes, got ",
                   bytes, " for ", Text(tensor)),
      {.reason = "TENSOR_TOO_LARGE",
       .field = field,
       .metadata = {{"max_tensor_bytes", absl::StrCat(max_bytes)}}});
}

absl::Status BadAxes(const Tensor& x, const std::vector<std::int32_t>& axes,
                     const std::string& expected) {
  return InvalidField("x.shape", "BAD_CHANNEL_AXES",
                      absl::StrCat("expected ", expected, " for channel axes ",
                                   Text(axes), ", got ", Text(x.shape)));
}

}  // namespace

kernel::TensorView Tensor::view() const {
  if (data == nullptr) return {dtype, {}};
  return {dtype, std::as_bytes(std::span(*data))};
}

std::string Text(const Tensor& tensor) {
  return absl::StrCat(Text(tensor.dtype), " ", Text(tensor.shape));
}

absl::Status CheckTensor(const Tensor& tensor, std::string_view field,
                         std::int64_t max_bytes) {
  const std::string shape = std::string(field) + ".shape";
  absl::Status status = CheckSizes(tensor, shape);
  if (status.ok()) status = CheckCounts(tensor, shape);
  if (status.ok()) {
    status = CheckData(tensor, std::string(field) + ".data", max_bytes);
  }
  return status;
}

absl::StatusOr<kernel::ChannelLayout> MakeLayout(
    const Tensor& x, const std::vector<std::int32_t>& channel_axes) {
  const auto rank = static_cast<int>(x.shape.size());
  std::vector<int> axes;
  axes.reserve(channel_axes.size());
  for (const std::int32_t axis : channel_axes) {
    axes.push_back(axis < 0 ? axis + rank : axis);
  }
  std::sort(axes.begin(), axes.end());
  if (!axes.empty() && (axes.front() < 0 || axes.back() >= rank)) {
    return BadAxes(x, channel_axes, "enough dimensions");
  }
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    return BadAxes(x, channel_axes, "a shape where each axis is named once");
  }
  kernel::ChannelLayout layout(x.shape, axes);
  if (layout.channels() <= kMaxChannels) return layout;
  return InvalidField(
      "x.shape", "WRONG_CHANNELS",
      absl::StrCat("expected at most ", kMaxChannels, " channels, got ",
                   layout.channels(), " in ", Text(x.shape)));
}

absl::StatusOr<std::vector<double>> ChannelVector(const Tensor* parameter,
                                                  std::int64_t channels,
                                                  std::string_view field) {
  if (parameter == nullptr) return std::vector<double>();
  const std::int64_t count = ElementCount(parameter->shape);
  if (count != channels) {
    return InvalidField(
        std::string(field) + ".shape", "WRONG_CHANNELS",
        absl::StrCat("expected ", channels, " values, one a channel, got ",
                     count, " in ", Text(parameter->shape)));
  }
  return kernel::ToDoubles(parameter->view());
}

}  // namespace batchnorm::session
