// Tensors as an archive (.npz, .safetensors) holds them: by name.
#ifndef BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_
#define BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/cli/integer_array.h"
#include "proto/wire/tensor.h"

namespace batchnorm::cli {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

struct NamedIntegers {
  std::string name;
  IntegerArray array;
};

// What was read of an archive, or is to be written. Members that nobody asked
// for are not decoded, so that they may have types that a tensor cannot have.
struct Archive {
  std::vector<NamedTensor> tensors = {};
  std::vector<std::string> skipped = {};  // names of all other members
  std::vector<NamedIntegers> integers = {};
  std::map<std::string, std::string> metadata = {};  // of .safetensors
};

// What standard input holds; a file says it by its name.
enum class PipeFormat : std::uint8_t { kNpy, kCsv };

struct ReadOptions {
  // The type of elements that a file cannot name: NumPy's V2, and csv.
  std::optional<Dtype> dtype = {};
  // Which members of an archive to decode; empty means all.
  std::function<bool(std::string_view name)> wanted = {};
  // Which of those are whole numbers; empty means none.
  std::function<bool(std::string_view name)> integers = {};
  PipeFormat input_format = PipeFormat::kNpy;
  // What an archive may expand to in all; empty: what npz.h says.
  std::optional<std::uint64_t> most_expanded = {};
};

inline bool Wants(const ReadOptions& options, std::string_view name) {
  return !options.wanted || options.wanted(name);
}

inline bool WantsIntegers(const ReadOptions& options, std::string_view name) {
  return options.integers && options.integers(name);
}

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NAMED_TENSOR_H_
