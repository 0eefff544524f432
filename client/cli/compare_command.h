// `bn compare`: somebody's results against the true ones.
#ifndef BATCHNORMD_CLIENT_CLI_COMPARE_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_COMPARE_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddCompareCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_COMPARE_COMMAND_H_
