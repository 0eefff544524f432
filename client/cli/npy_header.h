// The header of a .npy file: a Python dict literal with exactly three keys.
#ifndef BATCHNORMD_CLIENT_CLI_NPY_HEADER_H_
#define BATCHNORMD_CLIENT_CLI_NPY_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace batchnorm::cli {

struct NpyHeader {
  std::string descr;  // NumPy's name of the element type, e.g. "<f4"
  bool fortran_order = false;
  std::vector<std::int64_t> shape;  // sizes are not negative
};

// Pure and thread-safe; never looks beyond `text`.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view text);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NPY_HEADER_H_
