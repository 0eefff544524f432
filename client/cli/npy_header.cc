#include "client/cli/npy_header.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <set>

#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

constexpr std::size_t kMostDimensions = 64;  // as many as NumPy has

// Reads one literal from the front of a text. Every method skips white space
// first, and returns false or empty where something else stands.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool Take(std::string_view token) {
    SkipSpace();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }

  bool AtEnd() {
    SkipSpace();
    return rest_.empty();
  }

  // 'text' or "text"; the format needs no escapes.
  std::optional<std::string> TakeString() {
    SkipSpace();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return {};
    const std::size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) return {};
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::optional<bool> TakeBool() {
    if (Take("True")) return true;
    if (Take("False")) return false;
    return {};
  }

  // A size, with the L that Python 2 wrote after long ones.
  std::optional<std::int64_t> TakeSize() {
    SkipSpace();
    std::int64_t size = 0;
    const char* const begin = rest_.data();
    const auto [end, error] =
        std::from_chars(begin, begin + rest_.size(), size);
    if (error != std::errc() || size < 0) return {};
    rest_.remove_prefix(static_cast<std::size_t>(end - begin));
    Take("L");
    return size;
  }

  // (), (2,), (2, 3) or (2, 3,).
  std::optional<std::vector<std::int64_t>> TakeShape() {
    if (!Take("(")) return {};
    std::vector<std::int64_t> shape;
    while (!Take(")")) {
      const auto size = TakeSize();
      if (!size || shape.size() == kMostDimensions) return {};
      shape.push_back(*size);
      const bool comma = Take(",");
      const bool last = rest_.starts_with(")");
      if (!comma && (!last || shape.size() == 1)) return {};
    }
    return shape;
  }

 private:
  void SkipSpace() {
    const std::size_t text = rest_.find_first_not_of(" \t\n\r");
    rest_.remove_prefix(text == std::string_view::npos ? rest_.size() : text);
  }

  std::string_view rest_;
};

absl::Status Malformed(std::string_view what) {
  return ToStatus({fmt::format("npy header: {}", what),
                   "a header reads {'descr': '<f4', 'fortran_order': False, "
                   "'shape': (2, 3), }",
                   "write the file again with numpy.save"});
}

absl::Status ReadDescr(Reader& reader, NpyHeader& header) {
  if (reader.Take("[")) {
    return ToStatus({"a structured array (one with named fields)",
                     "a tensor is one plain array of numbers",
                     "save each field apart: numpy.save(file, "
                     "numpy.ascontiguousarray(a['field']))"});
  }
  auto descr = reader.TakeString();
  if (!descr) return Malformed("'descr' is not a string");
  header.descr = *std::move(descr);
  return absl::OkStatus();
}

absl::Status ReadOrder(Reader& reader, NpyHeader& header) {
  const auto order = reader.TakeBool();
  if (!order) return Malformed("'fortran_order' is not True or False");
  header.fortran_order = *order;
  return absl::OkStatus();
}

absl::Status ReadShape(Reader& reader, NpyHeader& header) {
  auto shape = reader.TakeShape();
  if (!shape) return Malformed("'shape' is not a tuple of sizes");
  header.shape = *std::move(shape);
  return absl::OkStatus();
}

absl::Status ReadValue(std::string_view key, Reader& reader,
                       NpyHeader& header) {
  if (key == "descr") return ReadDescr(reader, header);
  if (key == "fortran_order") return ReadOrder(reader, header);
  if (key == "shape") return ReadShape(reader, header);
  return Malformed(fmt::format("unknown key '{}'", key));
}

// One `'key': value`, and the comma behind it unless it is the last.
absl::Status ReadEntry(Reader& reader, std::set<std::string>& seen,
                       NpyHeader& header) {
  const auto key = reader.TakeString();
  if (!key || !reader.Take(":")) return Malformed("not a dict of keys");
  if (!seen.insert(*key).second) {
    return Malformed(fmt::format("key '{}' stands twice", *key));
  }
  return ReadValue(*key, reader, header);
}

absl::Status ReadEntries(Reader& reader, std::set<std::string>& seen,
                         NpyHeader& header) {
  while (!reader.Take("}")) {
    absl::Status entry = ReadEntry(reader, seen, header);
    if (!entry.ok()) return entry;
    if (reader.Take(",")) continue;
    if (reader.Take("}")) break;
    return Malformed("entries are not separated by commas");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view text) {
  Reader reader(text);
  NpyHeader header;
  std::set<std::string> seen;
  if (!reader.Take("{")) return Malformed("not a dict");
  absl::Status entries = ReadEntries(reader, seen, header);
  if (!entries.ok()) return entries;
  if (!reader.AtEnd()) return Malformed("text behind the dict");
  for (const char* key : {"descr", "fortran_order", "shape"}) {
    if (!seen.contains(key)) {
      return Malformed(fmt::format("key '{}' is missing", key));
    }
  }
  return header;
}

}  // namespace batchnorm::cli
