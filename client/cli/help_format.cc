#include "client/cli/help_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace batchnorm::cli {
namespace {

constexpr std::size_t kNameWidth = 27;
constexpr std::size_t kWidth = 80;

// What stands for the value: "FILE", "{train,inference}", or nothing.
std::string ValueOf(const CLI::Option& option) {
  if (option.get_type_size() == 0) return "";  // a flag
  const std::string name = option.get_type_name();
  const std::size_t brace = name.find('{');
  return " " + (brace == std::string::npos ? name.substr(0, name.find(':'))
                                           : name.substr(brace));
}

std::string DescriptionOf(const CLI::Option& option) {
  const std::string standard =
      option.get_required() ? "required" : option.get_default_str();
  if (standard.empty()) return option.get_description();
  return fmt::format("{} ({})", option.get_description(), standard);
}

// Takes as many words from the front of `rest` as fit into `width`.
std::string_view TakeLine(std::string_view& rest, std::size_t width) {
  std::size_t end = rest.size();
  if (end > width) {
    const std::size_t space = rest.rfind(' ', width);
    end = space == std::string_view::npos ? rest.find(' ') : space;
  }
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  return line;
}

}  // namespace

std::string HelpFormat::make_option(const CLI::Option* option,
                                    bool is_positional) const {
  std::string name = "  " + make_option_name(option, is_positional) +
                     (is_positional ? "" : ValueOf(*option));
  const std::string description = DescriptionOf(*option);
  std::string_view rest = description;
  std::string text;
  if (name.size() + 2 > kNameWidth && !rest.empty()) {
    text = name + '\n';
    name.clear();
  }
  do {
    text += fmt::format("{:<{}}{}\n", name, kNameWidth,
                        TakeLine(rest, kWidth - kNameWidth));
    name.clear();
  } while (!rest.empty());
  return text;
}

}  // namespace batchnorm::cli
