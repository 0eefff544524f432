// `bn session`: list, create, show, delete.
#ifndef BATCHNORMD_CLIENT_CLI_SESSION_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_SESSION_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddSessionCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SESSION_COMMAND_H_
