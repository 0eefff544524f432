// `bn eval`: any result of a layer from what the call holds, without a session.
#ifndef BATCHNORMD_CLIENT_CLI_EVAL_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_EVAL_COMMAND_H_

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddEvalCommand(const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_EVAL_COMMAND_H_
