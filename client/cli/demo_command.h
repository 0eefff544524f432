// `bn demo`: trains a small network whose batch-norm layers live in a server,
// and shows that it learned, what the server did, and that its gradients are
// right.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/client.h"

namespace batchnorm::cli {

void AddDemoCommand(const CommandRegistry& registry);

struct DemoOptions {
  std::string data = {};  // empty: see FindDigits
  std::uint64_t seed = 1;
  int epochs = 10;
  bool keep = false;
  bool no_next = false;
};

struct DemoOutput {
  std::ostream& result;
  // A terminal for a line that changes while batches pass, or null.
  std::ostream* progress = nullptr;
  // Tables as it goes; or one object; or one row an epoch.
  OutputFormat format = OutputFormat::kTable;
  // How the commands to try next name the server: "", or " --server ADDRESS".
  std::string server_flag = {};
  // Asked before each batch: whether to stop, with CANCELLED.
  std::function<bool()> is_cancelled = [] { return false; };
};

// True if the network learned and the gradients are right. Errors are the
// server's, or diagnoses of the data. Sessions are deleted again whatever
// happens, unless they are to be kept. Blocks; thread-safe.
absl::StatusOr<bool> RunDemo(const DemoOptions& options,
                             const client::Client& client,
                             const DemoOutput& output);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_
