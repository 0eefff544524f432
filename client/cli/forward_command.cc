#include "client/cli/forward_command.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/error_report.h"
#include "client/cli/inputs.h"
#include "client/cli/mode_option.h"
#include "client/cli/name_option.h"
#include "client/cli/progress.h"
#include "client/cli/results.h"
#include "client/cli/tensor_text.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn forward x.npy --session enc/bn1 -o y.npz\n"
    "  bn forward x.npy --session enc/bn1 --step 12 --gamma g.npy -o y.npz\n"
    "  bn forward x.npy --session enc/bn1 --mode inference -o y.npz\n"
    "  make_x | bn forward - --session enc/bn1 -o - > y.npy\n";

constexpr Role kRoles[] = {Role::kX, Role::kGamma, Role::kBeta};

struct ForwardOptions {
  InputOptions inputs;
  std::string x;  // the argument without a flag
  DestinationOptions destination;
  ModeOption mode;
  client::ForwardArgs args;
};

absl::StatusOr<client::ForwardArgs> ReadArgs(const ForwardOptions& options) {
  InputOptions inputs = options.inputs;
  if (!options.x.empty()) inputs.files[Role::kX] = options.x;
  TensorReader reader(ReadOptionsOf(inputs));
  auto tensors = ReadInputs(inputs, kRoles, reader);
  if (!tensors.ok()) return tensors.status();
  auto x = TakeX(*tensors);
  if (!x.ok()) return x.status();
  client::ForwardArgs args = options.args;
  args.mode = options.mode.mode();
  args.x = *std::move(x);
  args.gamma = Take(*tensors, Role::kGamma);
  args.beta = Take(*tensors, Role::kBeta);
  return args;
}

// y, and the statistics of a training step where there is room for them.
std::vector<NamedTensor> TensorsOf(client::ForwardResult& result, bool only_y) {
  std::vector<NamedTensor> tensors;
  tensors.push_back({"y", std::move(result.y)});
  if (!result.statistics || only_y) return tensors;
  tensors.push_back(PerChannel(Role::kMean, result.statistics->mean));
  tensors.push_back(PerChannel(Role::kVar, result.statistics->var));
  tensors.push_back(PerChannel(Role::kInvStd, result.statistics->inv_std));
  return tensors;
}

std::string LineOf(const std::string& session,
                   const client::ForwardResult& result) {
  if (!result.statistics) {
    return fmt::format("{}: normalized by the running statistics of step {}",
                       session, result.statistics_step);
  }
  return fmt::format("{}: step {}{}, {} values/channel", session, result.step,
                     result.replayed ? " (replayed)" : "",
                     result.statistics->count);
}

nlohmann::ordered_json FactsOf(const std::string& session,
                               const client::ForwardResult& result) {
  nlohmann::ordered_json facts;
  facts["session"] = session;
  if (!result.statistics) {
    facts["statistics_step"] = result.statistics_step;
    return facts;
  }
  facts["step"] = result.step;
  facts["replayed"] = result.replayed;
  facts["count"] = result.statistics->count;
  return facts;
}

absl::StatusOr<int> RunForward(const ForwardOptions& options,
                               const GlobalOptions& global) {
  auto args = ReadArgs(options);
  if (!args.ok()) return args.status();
  const bool only_y = HoldsOne(options.destination);
  auto destination = Destination::Open(options.destination, {1, args->x.dtype});
  if (!destination.ok()) return destination.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  auto result = WithProgress("normalizing " + Summary("x", args->x),
                             [&] { return client->Forward(*std::move(args)); });
  if (!result.ok()) return result.status();
  const std::string& session = options.args.session;
  const std::string line = LineOf(session, *result);
  auto facts = FactsOf(session, *result);
  absl::Status delivered = destination->Deliver(
      TensorsOf(*result, only_y), line, std::move(facts), FormatOf(global));
  if (!delivered.ok()) return delivered;
  return kYes;
}

}  // namespace

void AddForwardCommand(const CommandRegistry& registry) {
  const auto options = std::make_shared<ForwardOptions>();
  CLI::App* const command = AddSubcommand(
      registry.app, "forward", "Normalizes one batch by a session", kExamples);
  client::ForwardArgs& args = options->args;
  command->add_option("X", options->x, "the batch: the same as --x")
      ->type_name("FILE");
  command->add_option("--session", args.session, "its name")
      ->envname(EnvironmentName("--session"))
      ->required()
      ->check(PrintableAscii());
  AddModeOption(*command, options->mode);
  command->add_option("--step", args.step,
                      "the step to take or to repeat (the next)");
  command->add_option("--rank", args.rank,
                      "of this caller, in a session of several (0)");
  command->add_option("--acknowledged-step", args.acknowledged_step,
                      "the last step whose reply was seen");
  command
      ->add_option("--writer-token", args.writer_token,
                   "of `bn session acquire`")
      ->envname(EnvironmentName("--writer-token"));
  command->add_option("--new-weight", args.new_weight,
                      "of this batch in the running statistics");
  AddInputOptions(*command, kRoles, options->inputs);
  AddDestinationOptions(*command, options->destination);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunForward(*options, global);
    };
  });
}

}  // namespace batchnorm::cli
