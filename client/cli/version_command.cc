#include "client/cli/version_command.h"

#include <nlohmann/json.hpp>

#include "client/cli/error_report.h"
#include "client/cli/output.h"

namespace batchnorm::cli {
namespace {

absl::StatusOr<int> RunVersion(const GlobalOptions& global) {
  Table table({"program", "version", "api"});
  table.AddRow({std::string("bn"), Version(), std::string("batchnorm.v1")});
  Print(table,
        {{"program", "bn"}, {"version", Version()}, {"api", "batchnorm.v1"}},
        FormatOf(global));
  return kYes;
}

}  // namespace

std::string Version() { return BN_VERSION; }

void AddVersionCommand(const CommandRegistry& registry) {
  CLI::App* const command =
      AddSubcommand(registry.app, "version",
                    "Prints the version of this program", "  bn version\n");
  command->callback([registry] {
    registry.action = [&global = registry.global] {
      return RunVersion(global);
    };
  });
}

}  // namespace batchnorm::cli
