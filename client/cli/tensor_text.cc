#include "client/cli/tensor_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

template <typename T>
std::string ShortestText(T value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.begin(), buffer.end(), value).ptr;
  return std::string(buffer.begin(), end);
}

}  // namespace

std::string ShapeText(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

std::string Summary(std::string_view name, const Tensor& tensor) {
  return fmt::format("{}{} {}", name, ShapeText(tensor.shape),
                     NameOf(tensor.dtype));
}

std::string ExactText(double value, Dtype dtype) {
  if (std::isnan(value)) return "nan";  // whatever its sign
  if (dtype == Dtype::kF64) return ShortestText(value);
  return ShortestText(static_cast<float>(value));
}

}  // namespace batchnorm::cli
