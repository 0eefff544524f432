// `bn forward`: one step of a session, or an inference with its statistics.
#ifndef BATCHNORMD_CLIENT_CLI_FORWARD_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_FORWARD_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddForwardCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_FORWARD_COMMAND_H_
