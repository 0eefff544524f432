// `bn` as a whole: from its arguments to its exit code (error_report.h).
#ifndef BATCHNORMD_CLIENT_CLI_COMMAND_LINE_H_
#define BATCHNORMD_CLIENT_CLI_COMMAND_LINE_H_

namespace batchnorm::cli {

// Call from main, on its thread, once.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_COMMAND_LINE_H_
