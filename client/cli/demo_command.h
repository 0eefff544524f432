// `bn demo`: trains a small network whose batch-norm layers live in a server,
// and shows that it learned, what the server did, and that its gradients are
// right.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_

#include <cstdint>
#include <iosfwd>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace CLI {
class App;
}  // namespace CLI

namespace batchnorm::cli {

struct DemoFlags {
  std::string data;  // empty: see FindDigits
  std::uint64_t seed = 1;
  int epochs = 10;
  bool keep = false;
  bool no_next = false;
};

// Adds the flags and the help of `bn demo` to its subcommand.
void AddDemoFlags(CLI::App& demo, DemoFlags& flags);

struct DemoOutput {
  std::ostream& result;    // what the demo is for
  std::ostream* progress;  // a terminal for a line that lives, or null
  bool json = false;       // one object in place of tables
};

// True if the network learned and the gradients are right: exit code 0, else 1.
// Errors are the server's, or diagnoses of the data. Sessions are deleted again
// whatever happens, unless they are to be kept.
absl::StatusOr<bool> RunDemo(const DemoFlags& flags,
                             const client::Client& client,
                             const DemoOutput& output);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_COMMAND_H_
