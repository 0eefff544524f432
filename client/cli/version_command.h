// `bn version`: what this binary is.
#ifndef BATCHNORMD_CLIENT_CLI_VERSION_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_VERSION_COMMAND_H_

#include <string>

#include "client/cli/command.h"

namespace batchnorm::cli {

// "0.1.0".
std::string Version();

void AddVersionCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_VERSION_COMMAND_H_
