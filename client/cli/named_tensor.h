// Tensors as an archive (.npz, .safetensors) holds them: by name.
#ifndef BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_
#define BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/wire/tensor.h"

namespace batchnorm::cli {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// What was read of an archive. Members that nobody asked for are not decoded,
// so that they may have types that a tensor cannot have.
struct Archive {
  std::vector<NamedTensor> tensors;
  std::vector<std::string> skipped;  // names of all other members
};

// What standard input holds; a file says it by its name.
enum class PipeFormat : std::uint8_t { kNpy, kCsv };

struct ReadOptions {
  // The type of elements that a file cannot name: NumPy's V2, and csv.
  std::optional<Dtype> dtype = {};
  // Which members of an archive to decode; empty means all.
  std::function<bool(std::string_view name)> wanted = {};
  PipeFormat input_format = PipeFormat::kNpy;
  // What an archive may expand to in all; empty: what npz.h says.
  std::optional<std::uint64_t> most_expanded = {};
};

inline bool Wants(const ReadOptions& options, std::string_view name) {
  return !options.wanted || options.wanted(name);
}

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_
