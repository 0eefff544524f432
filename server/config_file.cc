#include "server/config_file.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace batchnorm {
namespace {

std::string Place(const std::string& path, const toml::source_position& at) {
  return absl::StrCat(path, ":", at.line, ":", at.column);
}

// A value as somebody would write it behind a flag.
std::optional<std::string> ScalarText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) {
    return absl::StrCat(number->get());
  }
  if (const auto* number = node.as_floating_point()) {
    return absl::StrCat(number->get());
  }
  if (const auto* truth = node.as_boolean()) {
    return truth->get() ? "true" : "false";
  }
  return std::nullopt;
}

std::optional<std::vector<std::string>> Texts(const toml::node& node) {
  std::vector<std::string> texts;
  const toml::array* const list = node.as_array();
  const std::size_t size = list == nullptr ? 1 : list->size();
  for (std::size_t i = 0; i < size; ++i) {
    std::optional<std::string> text =
        ScalarText(list == nullptr ? node : *list->get(i));
    if (!text) return std::nullopt;
    texts.push_back(*std::move(text));
  }
  return texts;
}

// TOML tables are sorted by key; mistakes are told in the order of the file.
std::vector<std::pair<const toml::key*, const toml::node*>> InFileOrder(
    const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const toml::source_position& left = a.first->source().begin;
    const toml::source_position& right = b.first->source().begin;
    return std::tie(left.line, left.column) <
           std::tie(right.line, right.column);
  });
  return entries;
}

}  // namespace

ConfigFile ReadConfigFile(const std::string& path) {
  errno = 0;
  const std::ifstream file(path, std::ios::binary);
  if (!file.is_open() || std::filesystem::is_directory(path)) {
    return {
        .entries = {},
        .mistakes = {absl::StrCat("cannot read ", path, ": ",
                                  std::strerror(errno != 0 ? errno : EISDIR))}};
  }
  std::ostringstream text;
  text << file.rdbuf();
  const toml::parse_result parsed = toml::parse(text.str(), path);
  if (!parsed) {
    return {.entries = {},
            .mistakes = {
                absl::StrCat(Place(path, parsed.error().source().begin), ": ",
                             std::string(parsed.error().description()))}};
  }
  ConfigFile result;
  for (const auto& [key, node] : InFileOrder(parsed.table())) {
    const std::string place = Place(path, key->source().begin);
    std::optional<std::vector<std::string>> values = Texts(*node);
    if (values) {
      result.entries.push_back(
          {std::string(key->str()), *std::move(values), place});
    } else {
      result.mistakes.push_back(absl::StrCat(
          place, ": ", std::string(key->str()),
          ": expected a string, a number, true, false or a list of these"));
    }
  }
  return result;
}

}  // namespace batchnorm
