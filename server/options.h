// What batchnormd is told: flags and BN_* environment variables.
#ifndef BATCHNORMD_SERVER_OPTIONS_H_
#define BATCHNORMD_SERVER_OPTIONS_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/logging.h"
#include "server/rpc/server.h"
#include "server/session_place.h"

namespace batchnorm {

struct Options {
  rpc::ServerOptions server;
  StorageOptions storage;
  std::string port_file;       // empty: none
  std::string metrics_listen;  // HOST:PORT; empty: nowhere
  absl::Duration drain = absl::Seconds(5);
  LogFormat log_format = LogFormat::kHuman;
  std::string log_level = "info";
};

// Fills in the options, flags before environment before defaults. A value means
// that the program is to end with it: 0 after --help and --version, 2 after a
// mistake, which standard error then explains.
std::optional<int> ParseOptions(int argc, char** argv, Options& options);

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_OPTIONS_H_
