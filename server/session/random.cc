#include "server/session/random.h"

#include <random>

#include "absl/strings/str_cat.h"

namespace batchnorm::session {

std::uint64_t Random64() {
  std::random_device bits;
  const std::uint64_t high = bits();
  return high << 32 | bits();
}

std::string RandomHex() {
  return absl::StrCat(absl::Hex(Random64(), absl::kZeroPad16),
                      absl::Hex(Random64(), absl::kZeroPad16));
}

}  // namespace batchnorm::session
