// Whole numbers that stand beside tensors in a checkpoint: counts, and bytes.
#ifndef BATCHNORMD_CLIENT_CLI_INTEGER_ARRAY_H_
#define BATCHNORMD_CLIENT_CLI_INTEGER_ARRAY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace batchnorm::cli {

enum class IntegerType : std::uint8_t { kU8, kI64 };

inline std::size_t BytesPerElement(IntegerType type) {
  return type == IntegerType::kU8 ? 1 : 8;
}

// Thread-compatible value type. `data` is row-major, little-endian, unpadded.
struct IntegerArray {
  IntegerType type = IntegerType::kI64;
  std::vector<std::int64_t> shape = {};
  std::string data = {};
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_INTEGER_ARRAY_H_
