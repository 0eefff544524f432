// How bn fails: three lines on standard error (diagnosis.h) and an exit code.
//
//   0       yes
//   1       the answer is no
//   2       usage, or a file
//   64 + N  the server's answer, N being the gRPC status code
//   130     interrupted
//
// Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_ERROR_REPORT_H_
#define BATCHNORMD_CLIENT_CLI_ERROR_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {

inline constexpr int kYes = 0;
inline constexpr int kNo = 1;
inline constexpr int kUsage = 2;

// REQUIRES: status is not OK.
int ExitCodeOf(const absl::Status& status);

// What to tell of an error, wherever it came from. `server` is the address that
// was called.
Diagnosis Explain(const absl::Status& status, const std::string& server);

// The lines, each with its line break; empty parts are left out.
std::string Render(const Diagnosis& diagnosis);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_ERROR_REPORT_H_
