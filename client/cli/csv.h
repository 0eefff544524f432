// Comma-separated numbers: one line a row, all rows equally long.
//
//   left,right        an optional header: a first line with no number in it
//   1.5,-2
//   nan,1e-3
//
// Read as a tensor of shape [rows, columns]. A file cannot say its type, which
// is f64 unless the caller names another. Pure and thread-safe; any bytes may
// be given.
#ifndef BATCHNORMD_CLIENT_CLI_CSV_H_
#define BATCHNORMD_CLIENT_CLI_CSV_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// Numbers are read to the nearest double, then rounded to `dtype`.
absl::StatusOr<Tensor> ParseCsv(std::string_view bytes,
                                Dtype dtype = Dtype::kF64);

// Each number as the shortest text that reads back the same; a vector one
// number a line. Tensors of rank above 2 are refused.
absl::StatusOr<std::string> EncodeCsv(const Tensor& tensor);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_CSV_H_
