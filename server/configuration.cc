#include "server/configuration.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/nearest_name.h"

namespace batchnorm {
namespace {

bool BelongsInFile(const CLI::Option& option) {
  return option.get_group() != kCommandLineGroup;
}

// `max-sessions` of `--max-sessions`.
std::string KeyOf(const CLI::Option& option) {
  return option.get_lnames().front();
}

bool TakesList(const CLI::Option& option) {
  return option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
}

// While one exists the app takes flags alone: CLI11 would read variables by
// itself, and neither say what came from where nor, in its newer versions,
// mind a value that the option refuses.
class FlagsOnly {
 public:
  explicit FlagsOnly(CLI::App& app) {
    for (CLI::Option* option : app.get_options()) {
      variables_.emplace_back(option, option->get_envname());
      option->envname("");
    }
  }
  ~FlagsOnly() {
    for (const auto& [option, variable] : variables_) {
      option->envname(variable);
    }
  }
  FlagsOnly(const FlagsOnly&) = delete;
  FlagsOnly& operator=(const FlagsOnly&) = delete;

 private:
  std::vector<std::pair<CLI::Option*, std::string>> variables_;
};

void Give(CLI::Option& option, const std::vector<std::string>& values) {
  for (const std::string& value : values) option.add_result(value);
  option.run_callback();
}

CLI::Option* FindKey(CLI::App& app, const std::string& key) {
  CLI::Option* const option = app.get_option_no_throw(absl::StrCat("--", key));
  return option != nullptr && BelongsInFile(*option) ? option : nullptr;
}

std::string UnknownKey(const CLI::App& app, const ConfigEntry& entry) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : app.get_options()) {
    if (BelongsInFile(*option)) keys.push_back(KeyOf(*option));
  }
  const std::string nearest = NearestName(entry.key, keys);
  return absl::StrCat(entry.place, ": unknown key '", entry.key, "'",
                      nearest.empty()
                          ? "; batchnormd --help lists them, as flags"
                          : absl::StrCat("; did you mean '", nearest, "'?"));
}

// TOML's basic string.
std::string Quoted(const std::string& text) {
  return absl::StrCat(
      "\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

std::string TomlValue(const CLI::Option& option, const std::string& text) {
  double number = 0;
  const bool is_bare =
      text == "true" || text == "false" ||
      (absl::SimpleAtod(text, &number) &&
       absl::ascii_isdigit(static_cast<unsigned char>(text.back())));
  return is_bare && option.get_type_name() != "FILE" ? text : Quoted(text);
}

// What was given, in bytes and seconds.
std::vector<std::string> ValuesOf(const CLI::Option& option) {
  if (option.count() == 0) {
    const std::string text = option.get_default_str();
    return text.empty() ? std::vector<std::string>() : std::vector{text};
  }
  const std::vector<std::string>& given = option.results();
  return TakesList(option) ? given : std::vector{given.back()};
}

std::string TomlLine(const CLI::Option& option) {
  std::vector<std::string> values = ValuesOf(option);
  if (values.empty()) return absl::StrCat("# ", KeyOf(option), " is not set");
  for (std::string& value : values) value = TomlValue(option, value);
  const std::string joined = absl::StrJoin(values, ", ");
  return absl::StrCat(
      KeyOf(option), " = ",
      TakesList(option) ? absl::StrCat("[", joined, "]") : joined);
}

std::string TableRow(const CLI::Option& option) {
  const std::string text = option.get_default_str();
  return absl::StrFormat(
      "| `--%s` | `%s` | %s | %s | %s |\n", KeyOf(option), option.get_envname(),
      absl::StrReplaceAll(option.get_type_name(), {{"|", ", "}}),
      text.empty() ? "" : absl::StrCat("`", text, "`"),
      absl::StrReplaceAll(option.get_description(), {{"\n", " "}}));
}

}  // namespace

Configuration::Configuration(CLI::App& app) : app_(app) {}

void Configuration::ApplyFlags(int argc, char** argv) {
  const FlagsOnly flags_only(app_);
  app_.parse(argc, argv);
  for (const CLI::Option* option : app_.get_options()) {
    if (option->count() > 0) origins_[option] = "flag";
  }
}

void Configuration::ApplyEnvironment() {
  for (CLI::Option* option : app_.get_options()) {
    const std::string variable = option->get_envname();
    if (variable.empty() || option->count() > 0) continue;
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    try {
      Give(*option, {value});
    } catch (const CLI::ParseError& error) {
      throw CLI::ValidationError(variable, error.what());
    }
    origins_[option] = variable;
  }
}

std::vector<std::string> Configuration::ApplyFile(const ConfigFile& file) {
  std::vector<std::string> mistakes = file.mistakes;
  for (const ConfigEntry& entry : file.entries) {
    CLI::Option* const option = FindKey(app_, entry.key);
    if (option == nullptr) {
      mistakes.push_back(UnknownKey(app_, entry));
      continue;
    }
    if (option->count() > 0) continue;
    if (!TakesList(*option) && entry.values.size() != 1) {
      mistakes.push_back(absl::StrCat(entry.place, ": ", entry.key,
                                      ": expected one value, got ",
                                      entry.values.size()));
      continue;
    }
    try {
      Give(*option, entry.values);
      origins_[option] = entry.place;
    } catch (const CLI::ParseError& error) {
      option->clear();
      mistakes.push_back(absl::StrCat(entry.place, ": ", error.what()));
    }
  }
  return mistakes;
}

std::string Configuration::InForce() const {
  std::ostringstream text;
  for (const CLI::Option* option : app_.get_options()) {
    if (!BelongsInFile(*option)) continue;
    const auto origin = origins_.find(option);
    text << absl::StreamFormat(
        "%-40s # %s\n", TomlLine(*option),
        origin == origins_.end() ? "default" : origin->second);
  }
  return text.str();
}

std::string MarkdownTable(const CLI::App& app) {
  std::ostringstream text;
  std::string group;
  for (const CLI::Option* option : app.get_options()) {
    if (!BelongsInFile(*option)) continue;
    if (option->get_group() != group) {
      group = option->get_group();
      text << absl::StreamFormat(
          "\n**%s**\n\n| flag | variable | takes | default | |\n"
          "|---|---|---|---|---|\n",
          group);
    }
    text << TableRow(*option);
  }
  return text.str();
}

}  // namespace batchnorm
