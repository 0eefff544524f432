#include "client/cli/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "client/cli/diagnosis.h"
#include "client/cli/npy_header.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kAlignment = 64;

struct ElementType {
  Dtype dtype;
  bool big_endian;
};

absl::Status Unusable(std::string_view descr, std::string_view why,
                      std::string_view hint) {
  return ToStatus({fmt::format("elements of type '{}'", descr),
                   std::string(why), std::string(hint)});
}

absl::Status UnusableKind(std::string_view descr, char kind) {
  switch (kind) {
    case 'i':
    case 'u':
    case 'b':
      return Unusable(descr, "tensors are f16, bf16, f32 or f64, not integers",
                      "convert before saving: a.astype(numpy.float32)");
    case 'c':
      return Unusable(descr, "tensors are real numbers",
                      "save a.real and a.imag apart");
    case 'O':
      return Unusable(descr,
                      "object arrays hold pickled Python, which is never read",
                      "save a plain array: numpy.asarray(a, numpy.float32)");
    default:
      return Unusable(descr, "tensors are f16, bf16, f32 or f64",
                      "convert before saving: a.astype(numpy.float32)");
  }
}

absl::StatusOr<ElementType> UnnamedType(std::optional<Dtype> unnamed) {
  if (unnamed && BytesPerElement(*unnamed) == 2)
    return ElementType{*unnamed, false};
  return ToStatus({"type 'V2' is unnamed 2-byte data",
                   "NumPy drops the name of ml_dtypes.bfloat16",
                   "add --dtype bf16, or save as .safetensors"});
}

absl::StatusOr<ElementType> TypeOf(std::string_view descr,
                                   std::optional<Dtype> unnamed) {
  const bool ordered =
      !descr.empty() &&
      std::string_view("<>=|").find(descr[0]) != std::string_view::npos;
  const bool big_endian = ordered && descr[0] == '>';
  const std::string_view name = descr.substr(ordered ? 1 : 0);
  if (name == "V2") return UnnamedType(unnamed);
  if (name == "f2") return ElementType{Dtype::kF16, big_endian};
  if (name == "f4") return ElementType{Dtype::kF32, big_endian};
  if (name == "f8") return ElementType{Dtype::kF64, big_endian};
  if (name == "f16" || name == "f12") {
    return Unusable(descr, "long double differs between machines",
                    "convert before saving: a.astype(numpy.float64)");
  }
  return UnusableKind(descr, name.empty() ? '?' : name[0]);
}

// The header's text and the elements behind it.
struct Parts {
  std::string_view header;
  std::string_view elements;
};

absl::Status Truncated(std::size_t expected, std::size_t actual) {
  return ToStatus({"the npy header ends too early",
                   fmt::format("expected {} bytes of header, the file has {}",
                               expected, actual),
                   "the file was cut short: copy or write it again"});
}

std::uint32_t LittleEndian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

absl::StatusOr<Parts> Split(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) {
    return ToStatus({"not a npy file",
                     "a npy file begins with the bytes \\x93NUMPY",
                     "write it with numpy.save"});
  }
  if (bytes.size() < 8) return Truncated(8, bytes.size());
  const int major = static_cast<unsigned char>(bytes[6]);
  const int minor = static_cast<unsigned char>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return ToStatus({fmt::format("npy version {}.{}", major, minor),
                     "versions 1.0, 2.0 and 3.0 are known",
                     "write it again with numpy.save"});
  }
  const std::size_t length_size = major == 1 ? 2 : 4;
  const std::size_t begin = 8 + length_size;
  if (bytes.size() < begin) return Truncated(begin, bytes.size());
  const std::size_t length = LittleEndian(bytes.substr(8, length_size));
  if (bytes.size() - begin < length) {
    return Truncated(begin + length, bytes.size());
  }
  return Parts{bytes.substr(begin, length), bytes.substr(begin + length)};
}

absl::StatusOr<IntegerType> IntegerTypeOf(std::string_view descr) {
  if (descr == "|u1") return IntegerType::kU8;
  if (descr == "<i8" || descr == ">i8") return IntegerType::kI64;
  return Unusable(descr, "whole numbers are int64",
                  "convert before saving: numpy.int64(n)");
}

// `type` is how messages name an element of `width` bytes.
absl::Status CheckSize(const NpyHeader& header, std::string_view type,
                       std::size_t width, std::size_t actual) {
  constexpr std::int64_t kMostElements = std::int64_t{1} << 60;
  const auto count = ElementCount(header.shape);
  if (!count || *count > kMostElements) {
    return ToStatus({fmt::format("shape {} is too large to be real",
                                 ShapeText(header.shape)),
                     "", "write it again with numpy.save"});
  }
  const std::size_t expected = static_cast<std::size_t>(*count) * width;
  if (expected == actual) return absl::OkStatus();
  return ToStatus(
      {fmt::format("{} bytes of elements, expected {}", actual, expected),
       fmt::format("shape {} of {} takes {} bytes", ShapeText(header.shape),
                   type, expected),
       actual < expected ? "the file was cut short: copy or write it again"
                         : "bytes follow the array: write it again"});
}

// The elements of a column-major (Fortran) array in row-major order.
std::string FromColumnMajor(std::string_view data,
                            std::span<const std::int64_t> shape,
                            std::size_t width) {
  std::vector<std::size_t> stride(shape.size());
  std::size_t next_stride = width;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    stride[axis] = next_stride;
    next_stride *= static_cast<std::size_t>(shape[axis]);
  }
  std::vector<std::int64_t> index(shape.size(), 0);
  std::string result(data.size(), 0);
  std::size_t from = 0;
  for (std::size_t to = 0; to < data.size(); to += width) {
    std::memcpy(result.data() + to, data.data() + from, width);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= stride[axis] * static_cast<std::size_t>(shape[axis]);
      index[axis] = 0;
    }
  }
  return result;
}

void SwapBytes(std::string& data, std::size_t width) {
  for (auto element = data.begin(); element != data.end();) {
    const auto next = element + static_cast<std::ptrdiff_t>(width);
    std::reverse(element, next);
    element = next;
  }
}

std::string RowMajorLittleEndian(std::string_view elements,
                                 const NpyHeader& header, std::size_t width,
                                 bool big_endian) {
  std::string data = header.fortran_order && header.shape.size() > 1
                         ? FromColumnMajor(elements, header.shape, width)
                         : std::string(elements);
  if (big_endian) SwapBytes(data, width);
  return data;
}

std::string_view DescrOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return "<f2";
    case Dtype::kF32:
      return "<f4";
    default:
      return "<f8";
  }
}

std::string Encode(std::string_view descr, std::span<const std::int64_t> shape,
                   std::string_view data) {
  const std::string_view comma = shape.size() == 1 ? "," : "";
  std::string header = fmt::format(
      "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
      fmt::join(shape, ", "), comma);
  const std::size_t unpadded = kMagic.size() + 4 + header.size() + 1;
  header.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  header += '\n';
  std::string bytes(kMagic);
  bytes += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF),
            static_cast<char>(header.size() >> 8)};
  bytes += header;
  bytes += data;
  return bytes;
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(std::string_view bytes,
                                std::optional<Dtype> unnamed) {
  const auto parts = Split(bytes);
  if (!parts.ok()) return parts.status();
  auto header = ParseNpyHeader(parts->header);
  if (!header.ok()) return header.status();
  const auto type = TypeOf(header->descr, unnamed);
  if (!type.ok()) return type.status();
  const std::size_t width = BytesPerElement(type->dtype);
  absl::Status size =
      CheckSize(*header, NameOf(type->dtype), width, parts->elements.size());
  if (!size.ok()) return size;
  std::string data =
      RowMajorLittleEndian(parts->elements, *header, width, type->big_endian);
  return Tensor{type->dtype, std::move(header->shape), std::move(data)};
}

absl::StatusOr<IntegerArray> ParseIntegerNpy(std::string_view bytes) {
  const auto parts = Split(bytes);
  if (!parts.ok()) return parts.status();
  auto header = ParseNpyHeader(parts->header);
  if (!header.ok()) return header.status();
  const auto type = IntegerTypeOf(header->descr);
  if (!type.ok()) return type.status();
  const std::size_t width = BytesPerElement(*type);
  absl::Status size =
      CheckSize(*header, header->descr, width, parts->elements.size());
  if (!size.ok()) return size;
  std::string data = RowMajorLittleEndian(parts->elements, *header, width,
                                          header->descr == ">i8");
  return IntegerArray{*type, std::move(header->shape), std::move(data)};
}

absl::StatusOr<std::string> EncodeNpy(const Tensor& tensor) {
  if (tensor.dtype == Dtype::kBF16) {
    return ToStatus({"bf16 cannot be written as npy",
                     "NumPy has no name for it and reads it as raw bytes",
                     "write a .safetensors file"});
  }
  return Encode(DescrOf(tensor.dtype), tensor.shape, tensor.data);
}

std::string EncodeNpy(const IntegerArray& array) {
  const bool bytes = array.type == IntegerType::kU8;
  return Encode(bytes ? "|u1" : "<i8", array.shape, array.data);
}

}  // namespace batchnorm::cli
