// Names of sessions on the command line.
#ifndef BATCHNORMD_CLIENT_CLI_NAME_OPTION_H_
#define BATCHNORMD_CLIENT_CLI_NAME_OPTION_H_

#include <CLI/CLI.hpp>

namespace batchnorm::cli {

// Lets through what a message can carry; whether it is a name is for the server
// to say. Thread-safe.
CLI::Validator PrintableAscii();

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NAME_OPTION_H_
