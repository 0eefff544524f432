// Numbers in and out of a Tensor. Functions are pure and thread-safe.
#ifndef BATCHNORMD_PROTO_WIRE_TENSOR_VALUES_H_
#define BATCHNORMD_PROTO_WIRE_TENSOR_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/wire/tensor.h"

namespace batchnorm {

// "f16", "bf16", "f32" or "f64".
std::string_view NameOf(Dtype dtype);
std::optional<Dtype> DtypeOfName(std::string_view name);

std::size_t BytesPerElement(Dtype dtype);

// product(shape); empty if a size is negative or the product leaves 63 bits.
std::optional<std::int64_t> ElementCount(std::span<const std::int64_t> shape);

// What `data` must have; empty if that leaves 63 bits.
std::optional<std::int64_t> ByteCount(Dtype dtype,
                                      std::span<const std::int64_t> shape);

// Whether `data` has exactly the bytes that dtype and shape ask for.
bool IsComplete(const Tensor& tensor);

// F32 and F64, copied as they are. product(shape) should be values.size(): the
// server refuses other tensors with BAD_TENSOR.
Tensor MakeTensor(std::span<const float> values,
                  std::vector<std::int64_t> shape);
Tensor MakeTensor(std::span<const double> values,
                  std::vector<std::int64_t> shape);

// Each value rounded to `dtype`, to nearest, ties to even.
Tensor MakeTensor(Dtype dtype, std::span<const double> values,
                  std::vector<std::int64_t> shape);

// The elements, exactly: every dtype fits in a double. A rest of `data` that
// makes no whole element is left out.
std::vector<double> ToDoubles(const Tensor& tensor);

// The elements in place, valid while `tensor` is neither changed nor moved;
// empty if the dtype is another one.
std::span<const float> FloatsOf(const Tensor& tensor);
std::span<const double> DoublesOf(const Tensor& tensor);

}  // namespace batchnorm

#endif  // BATCHNORMD_PROTO_WIRE_TENSOR_VALUES_H_
