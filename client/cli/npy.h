// NumPy's .npy, format versions 1.0 to 3.0: one array a file.
//
//   \x93NUMPY  major  minor  header length (u16, or u32 from 2.0)
//   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  spaces  \n
//   elements
//
// Pure and thread-safe; any bytes may be given, and memory stays within a small
// multiple of their number. Errors are diagnoses (diagnosis.h).
#ifndef BATCHNORMD_CLIENT_CLI_NPY_H_
#define BATCHNORMD_CLIENT_CLI_NPY_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/cli/integer_array.h"
#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// Reads '<f2', '<f4', '<f8' and their big-endian forms, in C or Fortran order.
// Unnamed 2-byte data ('V2', what NumPy makes of bfloat16) is read as
// `unnamed`, if that type has 2 bytes.
absl::StatusOr<Tensor> ParseNpy(std::string_view bytes,
                                std::optional<Dtype> unnamed = std::nullopt);

// Reads '|u1', '<i8' and '>i8', in C or Fortran order.
absl::StatusOr<IntegerArray> ParseIntegerNpy(std::string_view bytes);

// Version 1.0, little-endian, C order, elements aligned to 64 bytes: what
// numpy.save writes. bf16 is refused, since the format has no name for it.
absl::StatusOr<std::string> EncodeNpy(const Tensor& tensor);

// The same of whole numbers; never fails.
std::string EncodeNpy(const IntegerArray& array);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NPY_H_
