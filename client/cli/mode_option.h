// --mode: which statistics normalize a batch.
#ifndef BATCHNORMD_CLIENT_CLI_MODE_OPTION_H_
#define BATCHNORMD_CLIENT_CLI_MODE_OPTION_H_

#include <CLI/CLI.hpp>
#include <string>

#include "client/types.h"

namespace batchnorm::cli {

struct ModeOption {
  std::string name = "train";

  client::Mode mode() const {
    return name == "train" ? client::Mode::kTrain : client::Mode::kInference;
  }
};

void AddModeOption(CLI::App& command, ModeOption& option);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_MODE_OPTION_H_
