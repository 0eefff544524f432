#include "client/cli/health_command.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "client/cli/error_report.h"
#include "client/cli/output.h"

namespace batchnorm::cli {
namespace {

std::string NameOf(client::Health health) {
  switch (health) {
    case client::Health::kServing:
      return "SERVING";
    case client::Health::kNotServing:
      return "NOT_SERVING";
    case client::Health::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case client::Health::kUnknown:
      break;
  }
  return "UNKNOWN";
}

absl::StatusOr<int> RunHealth(const std::string& service,
                              const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto health = client->CheckHealth(service);
  if (!health.ok()) return health.status();
  Table table({"server", "status"});
  const bool serving = *health == client::Health::kServing;
  table.AddRow(
      {global.server, {NameOf(*health), serving ? Style::kGood : Style::kBad}});
  Print(table, {{"server", global.server}, {"status", NameOf(*health)}},
        FormatOf(global));
  return serving ? kYes : kNo;
}

}  // namespace

void AddHealthCommand(const CommandRegistry& registry) {
  const auto service = std::make_shared<std::string>();
  CLI::App* const command =
      AddSubcommand(registry.app, "health", "Asks whether the server serves",
                    "  bn health && echo ready\n"
                    "  bn health --server db1:50051 --timeout 2s\n");
  command->add_option("--service", *service,
                      "a gRPC service (the server as a whole)");
  command->callback([service, registry] {
    registry.action = [service, &global = registry.global] {
      return RunHealth(*service, global);
    };
  });
}

}  // namespace batchnorm::cli
