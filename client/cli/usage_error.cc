#include "client/cli/usage_error.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "client/cli/suggestion.h"

namespace batchnorm::cli {
namespace {

// The innermost subcommand that was recognized.
const CLI::App* InnermostOf(const CLI::App& app) {
  const CLI::App* innermost = &app;
  while (!innermost->get_subcommands().empty()) {
    innermost = innermost->get_subcommands().front();
  }
  return innermost;
}

std::vector<std::string> SubcommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub :
       app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(sub->get_name());
  }
  return names;
}

// The flags of `app` and of all that it stands in.
std::vector<std::string> FlagNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        names.push_back("--" + name);
      }
    }
  }
  return names;
}

std::string PathOf(const CLI::App& app) {
  if (app.get_parent() == nullptr) return app.get_name();
  return PathOf(*app.get_parent()) + " " + app.get_name();
}

// What was meant by an argument that `app` does not take: the batch, where that
// is a flag and nothing else.
std::optional<std::string> MeantByArgument(const CLI::App& app,
                                           const std::string& word) {
  const auto arguments = app.get_options(
      [](const CLI::Option* option) { return option->get_positional(); });
  if (!arguments.empty() || app.get_option_no_throw("--x") == nullptr) {
    return std::nullopt;
  }
  return "--x " + word;
}

Diagnosis UnknownWord(const CLI::App& app, const std::string& word) {
  const bool flag = word.starts_with("-");
  const bool command = !flag && !SubcommandNames(app).empty();
  const auto known = flag ? FlagNames(&app) : SubcommandNames(app);
  const auto nearest = flag || command
                           ? Suggest(word.substr(0, word.find('=')), known)
                           : MeantByArgument(app, word);
  const std::string path = PathOf(app);
  Diagnosis diagnosis;
  diagnosis.error =
      fmt::format("{}: unknown {} '{}'", path,
                  flag ? "option" : (command ? "command" : "argument"), word);
  if (command) {
    diagnosis.why = fmt::format("commands are {}", fmt::join(known, ", "));
  }
  diagnosis.hint = nearest
                       ? fmt::format("did you mean {}?", *nearest)
                       : fmt::format("`{} --help` shows what there is", path);
  return diagnosis;
}

}  // namespace

Diagnosis DiagnoseUsage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* const innermost = InnermostOf(app);
  const auto unknown = app.remaining(true);
  if (!unknown.empty()) return UnknownWord(*innermost, unknown.front());
  const std::string path = PathOf(*innermost);
  return {fmt::format("{}: {}", path, error.what()), "",
          fmt::format("`{} --help` shows how it is called", path)};
}

}  // namespace batchnorm::cli
