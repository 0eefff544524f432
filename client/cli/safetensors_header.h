// The JSON header of a .safetensors file.
#ifndef BATCHNORMD_CLIENT_CLI_SAFETENSORS_HEADER_H_
#define BATCHNORMD_CLIENT_CLI_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace batchnorm::cli {

// One tensor as the header describes it, unchecked but for its form.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // e.g. "BF16"
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // offsets from the end of the header
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the header
  std::map<std::string, std::string> metadata;
};

// Names and keys of metadata are distinct. Pure and thread-safe.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json);

absl::Status MalformedSafetensors(std::string_view what);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SAFETENSORS_HEADER_H_
