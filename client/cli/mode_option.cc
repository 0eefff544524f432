#include "client/cli/mode_option.h"

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddModeOption(CLI::App& command, ModeOption& option) {
  command
      .add_option("--mode", option.name,
                  "train: by the batch's own statistics; inference: by the "
                  "running ones")
      ->envname(EnvironmentName("--mode"))
      ->check(CLI::IsMember({"train", "inference"}))
      ->capture_default_str();
}

}  // namespace batchnorm::cli
