// The real images that `bn demo` learns: 1,797 handwritten digits of 8 x 8
// pixels (tests/data/README.md says where they come from). All functions are
// safe to call from any thread.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_DIGITS_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_DIGITS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace batchnorm::cli {

inline constexpr std::size_t kDigitPixels = 64;
inline constexpr std::size_t kDigitClasses = 10;

struct Digits {
  std::vector<float> pixels;         // kDigitPixels an image, each in [0, 1]
  std::vector<std::int32_t> labels;  // in [0, kDigitClasses)

  std::size_t size() const { return labels.size(); }
};

struct DigitsSplit {
  Digits train;
  Digits held_out;
};

// Errors are diagnoses (diagnosis.h): what is wrong, why, and a hint.

// Where the file is: `flag` if not empty, else BN_DEMO_DATA, else beside the
// executable as installed (../share/batchnormd) or as built (the source tree).
absl::StatusOr<std::string> FindDigits(const std::string& flag);

// Reads a gzipped or plain CSV of 64 integers from 0 to 16 and a label a row.
// An error names the first bad row.
absl::StatusOr<Digits> ReadDigits(const std::string& path);

// As ReadDigits, of the text itself.
absl::StatusOr<Digits> ParseDigits(std::string_view csv);

// Images `order[begin]` to `order[end - 1]`, in that order.
Digits Select(const Digits& digits, const std::vector<std::size_t>& order,
              std::size_t begin, std::size_t end);

// Shuffles (the file is sorted by writer), then holds a fifth out.
DigitsSplit SplitDigits(const Digits& digits, std::uint64_t seed);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_DIGITS_H_
