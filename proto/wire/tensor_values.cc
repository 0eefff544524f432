#include "proto/wire/tensor_values.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "proto/wire/float16.h"

namespace batchnorm {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are little-endian, and are not swapped");

struct DtypeName {
  Dtype dtype;
  std::string_view name;
};
constexpr std::array<DtypeName, 4> kNames = {{{Dtype::kF16, "f16"},
                                              {Dtype::kBF16, "bf16"},
                                              {Dtype::kF32, "f32"},
                                              {Dtype::kF64, "f64"}}};

template <typename T>
std::string BytesOf(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

template <typename T>
std::span<const T> InPlace(const Tensor& tensor) {
  return {reinterpret_cast<const T*>(tensor.data.data()),
          tensor.data.size() / sizeof(T)};
}

template <typename T, typename Convert>
std::string Converted(std::span<const double> values, Convert convert) {
  std::string bytes(values.size() * sizeof(T), '\0');
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T element = convert(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
  }
  return bytes;
}

template <typename T, typename Convert>
std::vector<double> Doubles(const Tensor& tensor, Convert convert) {
  std::vector<double> values(tensor.data.size() / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T element;
    std::memcpy(&element, tensor.data.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(element);
  }
  return values;
}

float NearestFloat(double value) { return static_cast<float>(value); }
template <typename T>
double Widen(T value) {
  return value;
}

}  // namespace

std::string_view NameOf(Dtype dtype) {
  for (const DtypeName& entry : kNames) {
    if (entry.dtype == dtype) return entry.name;
  }
  return "unknown";
}

std::optional<Dtype> DtypeOfName(std::string_view name) {
  for (const DtypeName& entry : kNames) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

std::size_t BytesPerElement(Dtype dtype) {
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

std::optional<std::int64_t> ElementCount(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) {
      return std::nullopt;
    }
  }
  return count;
}

std::optional<std::int64_t> ByteCount(Dtype dtype,
                                      std::span<const std::int64_t> shape) {
  std::optional<std::int64_t> count = ElementCount(shape);
  const auto size = static_cast<std::int64_t>(BytesPerElement(dtype));
  if (!count.has_value() || __builtin_mul_overflow(*count, size, &*count)) {
    return std::nullopt;
  }
  return count;
}

bool IsComplete(const Tensor& tensor) {
  return ByteCount(tensor.dtype, tensor.shape) ==
         static_cast<std::int64_t>(tensor.data.size());
}

Tensor MakeTensor(std::span<const float> values,
                  std::vector<std::int64_t> shape) {
  return {Dtype::kF32, std::move(shape), BytesOf(values)};
}

Tensor MakeTensor(std::span<const double> values,
                  std::vector<std::int64_t> shape) {
  return {Dtype::kF64, std::move(shape), BytesOf(values)};
}

Tensor MakeTensor(Dtype dtype, std::span<const double> values,
                  std::vector<std::int64_t> shape) {
  switch (dtype) {
    case Dtype::kF16:
      return {dtype, std::move(shape),
              Converted<std::uint16_t>(values, EncodeF16)};
    case Dtype::kBF16:
      return {dtype, std::move(shape),
              Converted<std::uint16_t>(values, EncodeBF16)};
    case Dtype::kF32:
      return {dtype, std::move(shape), Converted<float>(values, NearestFloat)};
    case Dtype::kF64:
      break;
  }
  return MakeTensor(values, std::move(shape));
}

std::vector<double> ToDoubles(const Tensor& tensor) {
  switch (tensor.dtype) {
    case Dtype::kF16:
      return Doubles<std::uint16_t>(tensor, DecodeF16);
    case Dtype::kBF16:
      return Doubles<std::uint16_t>(tensor, DecodeBF16);
    case Dtype::kF32:
      return Doubles<float>(tensor, Widen<float>);
    case Dtype::kF64:
      return Doubles<double>(tensor, Widen<double>);
  }
  return {};
}

std::span<const float> FloatsOf(const Tensor& tensor) {
  return tensor.dtype == Dtype::kF32 ? InPlace<float>(tensor)
                                     : std::span<const float>();
}

std::span<const double> DoublesOf(const Tensor& tensor) {
  return tensor.dtype == Dtype::kF64 ? InPlace<double>(tensor)
                                     : std::span<const double>();
}

}  // namespace batchnorm
