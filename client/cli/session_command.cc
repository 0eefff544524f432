#include "client/cli/session_command.h"

#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/error_report.h"
#include "client/cli/layer_options.h"
#include "client/cli/name_option.h"
#include "client/cli/output.h"
#include "client/cli/session_view.h"
#include "client/cli/snapshot_command.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn session create enc/bn1 --channels 64 --preset torch\n"
    "  bn session show enc/bn1\n"
    "  bn session list --prefix enc/ --format json\n"
    "  bn session export enc/bn1 bn1.safetensors\n"
    "  bn session delete enc/bn1\n";

struct CreateOptions {
  std::string name;
  client::SessionConfig config;
  LayerOptions layer;
  bool discard_input = false;
  std::string non_finite = "reject";
  std::string reduction = "local";
};

void PrintSession(const client::SessionInfo& session, OutputFormat format) {
  const bool spark =
      format == OutputFormat::kTable && isatty(STDOUT_FILENO) == 1;
  Print(SessionDetails(session, spark), JsonOf(session), format);
}

absl::StatusOr<client::SessionConfig> ConfigOf(const CreateOptions& options) {
  auto layer = NormalizationOf(options.layer);
  if (!layer.ok()) return layer.status();
  for (const std::string& note : layer->notes) PrintNote(note);
  client::SessionConfig config = options.config;
  config.normalization = layer->normalization;
  if (options.discard_input) {
    config.kept_input_policy = client::KeptInputPolicy::kDiscard;
  }
  if (options.reduction == "sum") {
    config.gradient_reduction = client::GradientReduction::kSum;
  } else if (options.reduction == "mean") {
    config.gradient_reduction = client::GradientReduction::kMean;
  }
  if (options.non_finite == "propagate") {
    config.non_finite_policy = client::NonFinitePolicy::kPropagate;
  }
  return config;
}

absl::StatusOr<int> RunCreate(const CreateOptions& options,
                              const GlobalOptions& global) {
  const auto config = ConfigOf(options);
  if (!config.ok()) return config.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto session = client->CreateSession(options.name, *config);
  if (!session.ok()) return session.status();
  PrintSession(*session, FormatOf(global));
  return kYes;
}

absl::StatusOr<int> RunShow(const std::string& name,
                            const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto session = client->GetSession(name);
  if (!session.ok()) return session.status();
  PrintSession(*session, FormatOf(global));
  return kYes;
}

absl::StatusOr<int> RunUpdate(const client::UpdateSessionArgs& args,
                              const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto session = client->UpdateSession(args);
  if (!session.ok()) return session.status();
  PrintSession(*session, FormatOf(global));
  return kYes;
}

absl::StatusOr<int> RunList(const std::string& prefix,
                            const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto sessions = client->ListAllSessions(prefix);
  if (!sessions.ok()) return sessions.status();
  auto json = nlohmann::ordered_json::array();
  for (const auto& session : *sessions) json.push_back(JsonOf(session));
  Print(SessionTable(*sessions), json, FormatOf(global));
  return kYes;
}

absl::StatusOr<int> RunDelete(const std::vector<std::string>& names,
                              const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  absl::Status first_error;  // one missing name does not save the others
  for (const std::string& name : names) {
    first_error.Update(client->DeleteSession(name));
  }
  if (!first_error.ok()) return first_error;
  return kYes;
}

void AddCreate(CLI::App& session, const CommandRegistry& registry) {
  const auto options = std::make_shared<CreateOptions>();
  CLI::App* const command = AddSubcommand(
      session, "create", "Creates a session, or finds the same one",
      "  bn session create enc/bn1 --channels 64 --preset torch\n"
      "  bn session create --channels 64 --eps 1e-3 --new-weight 0.01\n");
  command->add_option("NAME", options->name, "empty: the server makes one")
      ->check(PrintableAscii());
  command->add_option("--channels", options->config.channels, "of the layer")
      ->required();
  command
      ->add_option("--window", options->config.step_window,
                   "steps that can be repeated")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command
      ->add_option("--world-size", options->config.world_size,
                   "ranks that share one batch, each with a shard of it")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--reduce", options->reduction,
                   "dgamma and dbeta of several ranks: local, sum or mean")
      ->check(CLI::IsMember({"local", "sum", "mean"}))
      ->capture_default_str();
  command->add_flag("--discard-input", options->discard_input,
                    "the server keeps no x: send it again with each backward");
  command
      ->add_option("--non-finite", options->non_finite,
                   "x with NaN or Inf in training: reject or propagate")
      ->check(CLI::IsMember({"reject", "propagate"}))
      ->capture_default_str();
  AddLayerOptions(*command, options->layer);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunCreate(*options, global);
    };
  });
}

void AddShow(CLI::App& session, const CommandRegistry& registry) {
  const auto name = std::make_shared<std::string>();
  CLI::App* const command =
      AddSubcommand(session, "show", "Shows a session and its statistics",
                    "  bn session show enc/bn1\n"
                    "  bn session show enc/bn1 --format json | jq "
                    ".running_statistics.var\n");
  command->add_option("NAME", *name, "of the session")
      ->required()
      ->check(PrintableAscii());
  command->callback([name, registry] {
    registry.action = [name, &global = registry.global] {
      return RunShow(*name, global);
    };
  });
}

void AddUpdate(CLI::App& session, const CommandRegistry& registry) {
  const auto args = std::make_shared<client::UpdateSessionArgs>();
  CLI::App* const command = AddSubcommand(
      session, "update", "Changes the number of ranks from the next step on",
      "  bn session update enc/bn1 --world-size 3 --expected-step 120\n");
  command->add_option("NAME", args->name, "of the session")
      ->required()
      ->check(PrintableAscii());
  command->add_option("--world-size", args->world_size, "ranks from then on")
      ->required()
      ->check(CLI::Range(1, 4096));
  command
      ->add_option("--expected-step", args->expected_step,
                   "the last step, as `bn session show` has it")
      ->required();
  command->callback([args, registry] {
    registry.action = [args, &global = registry.global] {
      return RunUpdate(*args, global);
    };
  });
}

void AddList(CLI::App& session, const CommandRegistry& registry) {
  const auto prefix = std::make_shared<std::string>();
  CLI::App* const command = AddSubcommand(session, "list", "Lists sessions",
                                          "  bn session list --prefix enc/\n");
  command->add_option("--prefix", *prefix, "of their names")
      ->check(PrintableAscii());
  command->callback([prefix, registry] {
    registry.action = [prefix, &global = registry.global] {
      return RunList(*prefix, global);
    };
  });
}

void AddDelete(CLI::App& session, const CommandRegistry& registry) {
  const auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* const command = AddSubcommand(session, "delete", "Deletes sessions",
                                          "  bn session delete enc/bn1\n");
  command->add_option("NAME", *names, "of the sessions")
      ->required()
      ->check(PrintableAscii());
  command->callback([names, registry] {
    registry.action = [names, &global = registry.global] {
      return RunDelete(*names, global);
    };
  });
}

}  // namespace

void AddSessionCommand(const CommandRegistry& registry) {
  CLI::App* const session = AddSubcommand(
      registry.app, "session",
      "Lists, creates, shows, moves and deletes sessions", kExamples);
  session->require_subcommand(1);
  AddCreate(*session, registry);
  AddShow(*session, registry);
  AddUpdate(*session, registry);
  AddList(*session, registry);
  AddSnapshotCommands(*session, registry);
  AddDelete(*session, registry);
}

}  // namespace batchnorm::cli
