// What a command has computed: written to a file, or summed up on the screen.
#ifndef BATCHNORMD_CLIENT_CLI_RESULTS_H_
#define BATCHNORMD_CLIENT_CLI_RESULTS_H_

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/named_tensor.h"
#include "client/cli/output.h"
#include "client/cli/tensor_file.h"
#include "client/cli/tensor_role.h"

namespace batchnorm::cli {

// A vector with one value a channel as an f64 tensor of shape [channels].
NamedTensor PerChannel(Role role, std::span<const double> values);

struct DestinationOptions {
  std::string path;                   // "" for none
  std::string output_format = "npy";  // of standard output
};

// Adds --output and --output-format.
void AddDestinationOptions(CLI::App& command, DestinationOptions& options);

// Whether the destination holds one tensor only.
bool HoldsOne(const DestinationOptions& options);

// Where results go. Opened before the call whose results it takes, so that a
// wrong path costs no work. Thread-compatible.
class Destination {
 public:
  static absl::StatusOr<Destination> Open(const DestinationOptions& options,
                                          const Contents& contents);

  // Writes the results and lists them; without a file, shows what is in them.
  // `line` says to people, and `facts` to programs, what else is known.
  absl::Status Deliver(std::span<const NamedTensor> results,
                       const std::string& line, nlohmann::ordered_json facts,
                       OutputFormat format);

 private:
  explicit Destination(PipeFormat pipe) : pipe_(pipe) {}

  PipeFormat pipe_;
  std::optional<OutputFile> file_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_RESULTS_H_
