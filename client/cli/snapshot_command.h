// `bn session acquire`, `export` and `import`.
#ifndef BATCHNORMD_CLIENT_CLI_SNAPSHOT_COMMAND_H_
#define BATCHNORMD_CLIENT_CLI_SNAPSHOT_COMMAND_H_

#include <CLI/CLI.hpp>

#include "client/cli/command.h"

namespace batchnorm::cli {

void AddSnapshotCommands(CLI::App& session, const CommandRegistry& registry);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SNAPSHOT_COMMAND_H_
