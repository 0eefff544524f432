// Tensors and their numbers as text. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_TENSOR_TEXT_H_
#define BATCHNORMD_CLIENT_CLI_TENSOR_TEXT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// "[32,64,56,56]".
std::string ShapeText(std::span<const std::int64_t> shape);

// "y[32,64,56,56] f32".
std::string Summary(std::string_view name, const Tensor& tensor);

// The shortest decimal text that reads back as the same number of `dtype`;
// "nan", "inf", "-inf". REQUIRES: value is a number of `dtype`.
std::string ExactText(double value, Dtype dtype = Dtype::kF64);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_TENSOR_TEXT_H_
