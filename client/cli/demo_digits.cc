#include "client/cli/demo_digits.h"

#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/demo_random.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kHint[] =
    "give the digits of the source tree: --data tests/data/digits.csv.gz";
constexpr char kRow[] =
    "a row is 64 integers from 0 to 16 and a label from 0 to 9";
constexpr int kDarkest = 16;  // pixels are integers from 0 to this

std::vector<std::string> UsualPlaces() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path folder = program.parent_path();
  std::vector<std::string> places;
  for (const char* place : {"../share/batchnormd/digits.csv.gz",
                            "../../../tests/data/digits.csv.gz"}) {
    places.push_back((folder / place).lexically_normal().string());
  }
  return places;
}

// The whole file, unpacked; a file that is not gzipped is read as it is.
absl::StatusOr<std::string> ReadGzip(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(
      gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) {
    return ToStatus({.error = absl::StrCat(path, ": cannot be opened"),
                     .why = std::strerror(errno),
                     .hint = kHint});
  }
  std::string text;
  std::array<char, 1 << 16> block{};
  int count = 0;
  while ((count = gzread(file.get(), block.data(), block.size())) > 0) {
    text.append(block.data(), static_cast<std::size_t>(count));
  }
  // A stream cut short is not an error of gzread, only of gzclose.
  int error = Z_OK;
  const std::string message = gzerror(file.get(), &error);
  if (count < 0 || error != Z_OK) {
    return ToStatus({.error = absl::StrCat(path, ": is damaged"),
                     .why = message,
                     .hint = kHint});
  }
  return text;
}

std::optional<std::int32_t> IntegerUpTo(std::string_view text, int max) {
  std::int32_t value = 0;
  const absl::string_view digits(text.data(), text.size());
  if (!absl::SimpleAtoi(digits, &value)) return std::nullopt;
  if (value < 0 || value > max) return std::nullopt;
  return value;
}

// What is wrong with a row, or nothing; then the row is in `digits`.
std::string AppendRow(absl::string_view line, Digits& digits) {
  const std::vector<std::string> fields = absl::StrSplit(line, ',');
  if (fields.size() != kDigitPixels + 1) {
    return absl::StrCat("has ", fields.size(), " fields");
  }
  for (std::size_t i = 0; i < kDigitPixels; ++i) {
    const auto pixel = IntegerUpTo(fields[i], kDarkest);
    if (!pixel) return absl::StrCat("has the pixel '", fields[i], "'");
    digits.pixels.push_back(static_cast<float>(*pixel) / kDarkest);
  }
  const auto label = IntegerUpTo(fields.back(), kDigitClasses - 1);
  if (!label) return absl::StrCat("has the label '", fields.back(), "'");
  digits.labels.push_back(*label);
  return "";
}

}  // namespace

absl::StatusOr<std::string> FindDigits(const std::string& flag) {
  if (!flag.empty()) return flag;
  const char* path = std::getenv("BN_DEMO_DATA");
  if (path != nullptr && *path != '\0') return std::string(path);
  const std::vector<std::string> places = UsualPlaces();
  for (const std::string& place : places) {
    std::error_code error;
    if (fs::exists(place, error)) return place;
  }
  return absl::NotFoundError(
      absl::StrCat("digits.csv.gz is not at ", absl::StrJoin(places, " or ")));
}

absl::StatusOr<Digits> ReadDigits(const std::string& path) {
  const absl::StatusOr<std::string> csv = ReadGzip(path);
  if (!csv.ok()) return csv.status();
  absl::StatusOr<Digits> digits = ParseDigits(*csv);
  if (!digits.ok()) return Of(path, digits.status());
  return digits;
}

absl::StatusOr<Digits> ParseDigits(std::string_view csv) {
  Digits digits;
  const absl::string_view text(csv.data(), csv.size());
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string fault = AppendRow(line, digits);
    if (fault.empty()) continue;
    return ToStatus(
        {.error = absl::StrCat("row ", digits.size() + 1, " ", fault),
         .why = kRow,
         .hint = kHint});
  }
  return digits;
}

Digits Select(const Digits& digits, const std::vector<std::size_t>& order,
              std::size_t begin, std::size_t end) {
  Digits selected;
  for (std::size_t i = begin; i < end; ++i) {
    const float* image = &digits.pixels[order[i] * kDigitPixels];
    selected.pixels.insert(selected.pixels.end(), image, image + kDigitPixels);
    selected.labels.push_back(digits.labels[order[i]]);
  }
  return selected;
}

DigitsSplit SplitDigits(const Digits& digits, std::uint64_t seed) {
  const auto order = DemoRandom(seed).Permutation(digits.size());
  const std::size_t train = digits.size() - digits.size() / 5;
  return {.train = Select(digits, order, 0, train),
          .held_out = Select(digits, order, train, digits.size())};
}

}  // namespace batchnorm::cli
