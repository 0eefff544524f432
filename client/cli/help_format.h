// The layout of --help: within 80 columns, values and defaults in words.
#ifndef BATCHNORMD_CLIENT_CLI_HELP_FORMAT_H_
#define BATCHNORMD_CLIENT_CLI_HELP_FORMAT_H_

#include <CLI/CLI.hpp>
#include <string>

namespace batchnorm::cli {

// Thread-compatible.
class HelpFormat : public CLI::Formatter {
 public:
  // "  --mode {train,inference}  by which statistics (train)".
  std::string make_option(const CLI::Option* option,
                          bool is_positional) const override;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_HELP_FORMAT_H_
