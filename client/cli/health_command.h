// `bn health`: exit code 0 if the server serves; fit for a HEALTHCHECK.
#ifndef BATCHNORMD_CLIENT_CLI_HEALTH_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_HEALTH_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddHealthCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_HEALTH_COMMAND_H_
