// Where options get their values from: flags, then BN_* variables, then a file,
// then defaults. What the options are is the App's own business; here they are
// only filled in, and shown.
#ifndef BATCHNORMD_SERVER_CONFIGURATION_H_
#define BATCHNORMD_SERVER_CONFIGURATION_H_

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "server/config_file.h"

namespace batchnorm {

// Options of this group belong on a command line, not into a file.
inline constexpr char kCommandLineGroup[] = "Other";

class Configuration {
 public:
  // The app outlives it, and has all its options.
  explicit Configuration(CLI::App& app);

  // Throw CLI::ParseError on the first mistake, as CLI11 does; call them in
  // this order. What has a value already keeps it.
  void ApplyFlags(int argc, char** argv);
  void ApplyEnvironment();

  // The mistakes, each with its place; the rest is applied.
  std::vector<std::string> ApplyFile(const ConfigFile& file);

  // What is in force, as a file that says the same, with a comment a line on
  // where it comes from: flag, BN_VARIABLE, FILE:LINE:COLUMN or default.
  std::string InForce() const;

 private:
  CLI::App& app_;
  std::map<const CLI::Option*, std::string> origins_;
};

// The options as a table for the documentation.
std::string MarkdownTable(const CLI::App& app);

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_CONFIGURATION_H_
