// What to say of arguments that cannot be parsed.
#ifndef BATCHNORMD_CLIENT_CLI_USAGE_ERROR_H_
#define BATCHNORMD_CLIENT_CLI_USAGE_ERROR_H_

#include <CLI/CLI.hpp>

#include "client/cli/diagnosis.h"

namespace batchnorm::cli {

// REQUIRES: `error` came from parsing with `app`, which knows what was left
// over. An unknown word gets the known one nearest to it.
Diagnosis DiagnoseUsage(const CLI::App& app, const CLI::ParseError& error);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_USAGE_ERROR_H_
