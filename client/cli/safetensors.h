// Hugging Face's .safetensors: named tensors, and nothing that can run.
//
//   u64 N   N bytes of JSON   elements of all tensors, little-endian
//   {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
//    "__metadata__": {"key": "value", ...}}
//
// Offsets count from the end of the JSON. Tensors fill that space without gap
// or overlap. Pure and thread-safe; any bytes may be given, and memory stays
// within a small multiple of their number.
#ifndef BATCHNORMD_CLIENT_CLI_SAFETENSORS_H_
#define BATCHNORMD_CLIENT_CLI_SAFETENSORS_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/cli/named_tensor.h"

namespace batchnorm::cli {

// F16, BF16, F32 and F64 are read as tensors, U8 and I64 as integers where the
// options say so; a member of another type is an error only if it is wanted.
// Keys that stand twice are an error.
absl::StatusOr<Archive> ParseSafetensors(std::string_view bytes,
                                         const ReadOptions& options = {});

// Largest elements first, so that each tensor is aligned to its elements.
// REQUIRES: names are distinct, valid UTF-8.
absl::StatusOr<std::string> EncodeSafetensors(
    std::span<const NamedTensor> tensors);

// The same of all that the archive holds. REQUIRES: metadata is valid UTF-8.
absl::StatusOr<std::string> EncodeSafetensors(const Archive& archive);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SAFETENSORS_H_
