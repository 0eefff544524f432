#include "client/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "client/cli/backward_command.h"
#include "client/cli/command.h"
#include "client/cli/compare_command.h"
#include "client/cli/demo_command.h"
#include "client/cli/error_report.h"
#include "client/cli/eval_command.h"
#include "client/cli/forward_command.h"
#include "client/cli/health_command.h"
#include "client/cli/help_format.h"
#include "client/cli/interrupt.h"
#include "client/cli/session_command.h"
#include "client/cli/usage_error.h"
#include "client/cli/version_command.h"

namespace batchnorm::cli {
namespace {

constexpr char kDescription[] =
    "Batch normalization and its gradients, exactly, over gRPC.";

constexpr char kFooter[] =
    "Tensors are files: .npy, .npz, .safetensors, .csv, or - for standard\n"
    "input and output; FILE.npz:NAME is one member of an archive.\n"
    "\n"
    "Exit codes: 0 yes, 1 the answer is no, 2 usage or a file, 64+N the\n"
    "server's gRPC status N, 130 interrupted.\n"
    "\n"
    "BN_SERVER, BN_TIMEOUT, BN_FORMAT, BN_PRESET and so on give flags their\n"
    "defaults. NO_COLOR turns colours off.\n";

void AddCommands(const CommandRegistry& registry) {
  AddEvalCommand(registry);
  AddCompareCommand(registry);
  AddForwardCommand(registry);
  AddBackwardCommand(registry);
  AddSessionCommand(registry);
  AddHealthCommand(registry);
  AddDemoCommand(registry);
  AddVersionCommand(registry);
}

// Newer versions of CLI11 pass over a variable that its option refuses.
void CheckEnvironment(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string& variable = option->get_envname();
    const char* const value =
        variable.empty() ? nullptr : std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0' || option->count() > 0) continue;
    throw CLI::ValidationError(option->get_name(),
                               variable + " cannot be '" + value + "'");
  }
  for (const CLI::App* called : app.get_subcommands())
    CheckEnvironment(*called);
}

int Report(const Diagnosis& diagnosis, int exit_code) {
  std::fputs(Render(diagnosis).c_str(), stderr);
  return exit_code;
}

// A full disk must not turn a result into silence.
bool Printed() { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

int ReportUnprinted() {
  return Report({"standard output: cannot be written",
                 "it is full or closed; what was printed is not whole",
                 "make room, or write the result to a file with -o"},
                kUsage);
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv) {
  ExitOnInterrupt();
  // What gRPC says about itself concerns its developers; users get errors.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  CLI::App app(kDescription, "bn");
  app.formatter(std::make_shared<HelpFormat>());
  GlobalOptions global;
  Action action;
  AddGlobalOptions(app, global);
  app.set_version_flag("--version", Version());
  app.footer(kFooter);
  app.require_subcommand(1);
  AddCommands({app, global, action});
  try {
    app.parse(argc, argv);
    CheckEnvironment(app);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return Report(DiagnoseUsage(app, error), kUsage);
  }
  const auto exit_code = action();
  if (exit_code.ok()) return Printed() ? *exit_code : ReportUnprinted();
  return Report(Explain(exit_code.status(), global.server),
                ExitCodeOf(exit_code.status()));
}

}  // namespace batchnorm::cli
