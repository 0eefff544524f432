#include "client/cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

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

void AddFile(CLI::App& app, const std::string& flag, std::string& path,
             const std::string& description) {
  app.add_option(flag, path, description)
      ->envname(EnvironmentName(flag))
      ->type_name("FILE");
}

absl::StatusOr<client::Credentials> ReadCredentials(
    const GlobalOptions& options) {
  auto read = client::ReadCredentials(options.credentials);
  if (read.ok()) return read;
  return ToStatus({std::string(read.status().message()),
                   "--tls-ca, --tls-cert, --tls-key and --token-file, or BN_*, "
                   "name files that say who calls whom",
                   ""});
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
  AddFile(app, "--tls-ca", options.credentials.ca,
          "encrypt: PEM certificates that vouch for the server");
  AddFile(app, "--tls-cert", options.credentials.certificate,
          "your certificate, for servers that ask for one");
  AddFile(app, "--tls-key", options.credentials.key, "its key");
  AddFile(app, "--token-file", options.credentials.token,
          "a file with your token, for servers that ask for one");
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
  auto credentials = ReadCredentials(options);
  if (!credentials.ok()) return credentials.status();
  client::ConnectionOptions connection;
  connection.target = options.server;
  connection.credentials = *std::move(credentials);
  if (const char* const trace = std::getenv("TRACEPARENT")) {
    connection.traceparent = trace;
  }
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
