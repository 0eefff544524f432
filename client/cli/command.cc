#include "client/cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

// A failure that lasts is told soon: the caller can see it and start a server.
// Work that a while was spent on already waits longer for one to come back.
constexpr int kAttempts = 3;
constexpr int kPatientAttempts = 12;

// "30s", "2m", "500ms"; a plain number is seconds.
absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  absl::Duration timeout;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) timeout = absl::Seconds(seconds);
  const bool known =
      timeout != absl::ZeroDuration() || absl::ParseDuration(text, &timeout);
  if (known && timeout > absl::ZeroDuration()) return timeout;
  return ToStatus({fmt::format("--timeout '{}' is not a length of time", text),
                   "it is a number above 0 with ms, s, m or h",
                   "for example --timeout 90s"});
}

}  // namespace

std::string EnvironmentName(const std::string& option) {
  std::string name = "BN_" + option.substr(option.find_first_not_of('-'));
  for (char& c : name) {
    c = c == '-'
            ? '_'
            : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--server", options.server,
                 "host:port or unix:/path of the server")
      ->envname(EnvironmentName("--server"))
      ->capture_default_str();
  app.add_option("--timeout", options.timeout, "the longest a call may take")
      ->envname(EnvironmentName("--timeout"))
      ->capture_default_str();
  app.add_option("--format", options.format, "of what is printed")
      ->envname(EnvironmentName("--format"))
      ->check(CLI::IsMember({"table", "json", "csv"}))
      ->capture_default_str();
}

CLI::App* AddSubcommand(CLI::App& app, const std::string& name,
                        const std::string& description,
                        const std::string& examples) {
  CLI::App* const command = app.add_subcommand(name, description);
  command->fallthrough();
  command->footer("Examples:\n" + examples +
                  "\n--server, --timeout and --format may stand here too: see "
                  "`bn --help`.");
  return command;
}

absl::StatusOr<client::Client> Connect(const GlobalOptions& options,
                                       Patience patience) {
  const auto timeout = ParseTimeout(options.timeout);
  if (!timeout.ok()) return timeout.status();
  client::ConnectionOptions connection;
  connection.target = options.server;
  connection.timeout = *timeout;
  connection.retry.total_timeout = *timeout;
  connection.retry.max_attempts =
      patience == Patience::kLong ? kPatientAttempts : kAttempts;
  return client::Client(std::move(connection));
}

OutputFormat FormatOf(const GlobalOptions& options) {
  if (options.format == "json") return OutputFormat::kJson;
  if (options.format == "csv") return OutputFormat::kCsv;
  return OutputFormat::kTable;
}

}  // namespace batchnorm::cli
