// What all subcommands share: how each is registered, and the options that say
// which server is called and how results are printed.
#ifndef BATCHNORMD_CLIENT_CLI_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/output.h"
#include "client/client.h"

namespace batchnorm::cli {

struct GlobalOptions {
  std::string server = "localhost:50051";
  std::string timeout = "60s";
  std::string format = "table";
  client::CredentialFiles credentials;
};

// Does a command's work and returns its exit code, or what went wrong.
using Action = std::function<absl::StatusOr<int>()>;

// Where a subcommand registers itself: it adds its options to `app`, and sets
// `action` when it is the one that was called. All three outlive the parse.
struct CommandRegistry {
  CLI::App& app;
  const GlobalOptions& global;
  Action& action;
};

void AddGlobalOptions(CLI::App& app, GlobalOptions& options);

// A subcommand with the options above it in reach, and its example below its
// help.
CLI::App* AddSubcommand(CLI::App& app, const std::string& name,
                        const std::string& description,
                        const std::string& examples);

// BN_NAME of `--name`, by which the environment gives an option its default.
std::string EnvironmentName(const std::string& option);

// Whether a call outlives a server that is away for some seconds.
enum class Patience : std::uint8_t { kShort, kLong };

// A diagnosis if --timeout is not a length of time above 0, or the files of
// --tls-ca and so on are of no use.
absl::StatusOr<client::Client> Connect(const GlobalOptions& options,
                                       Patience patience = Patience::kShort);

OutputFormat FormatOf(const GlobalOptions& options);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_COMMAND_H_
