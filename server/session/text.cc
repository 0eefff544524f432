#include "server/session/text.h"

#include <array>
#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace batchnorm::session {

namespace {

// Longer than any legal name, short enough for a log line.
constexpr std::size_t kLongestQuote = 160;

template <typename Values>
std::string InBrackets(const Values& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

}  // namespace

std::string Text(kernel::Dtype dtype) {
  switch (dtype) {
    case kernel::Dtype::kF16:
      return "f16";
    case kernel::Dtype::kBF16:
      return "bf16";
    case kernel::Dtype::kF32:
      return "f32";
    case kernel::Dtype::kF64:
      return "f64";
  }
  return "unknown dtype";
}

std::string Text(double value) {
  std::array<char, 32> digits;
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return std::string(digits.data(), end);
}

std::string Text(std::span<const std::int64_t> values) {
  return InBrackets(values);
}

std::string Text(std::span<const std::int32_t> values) {
  return InBrackets(values);
}

std::string Quoted(std::string_view bytes) {
  const std::string_view shown = bytes.substr(0, kLongestQuote);
  const char* rest = shown.size() < bytes.size() ? "...\"" : "\"";
  return absl::StrCat(
      "\"", absl::CEscape(absl::string_view(shown.data(), shown.size())), rest);
}

}  // namespace batchnorm::session
