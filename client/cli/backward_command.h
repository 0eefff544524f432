// `bn backward`: the gradients of one step of a session.
#ifndef BATCHNORMD_CLIENT_CLI_BACKWARD_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_BACKWARD_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddBackwardCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_BACKWARD_COMMAND_H_
