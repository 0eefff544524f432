#include "client/cli/backward_command.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/diagnosis.h"
#include "client/cli/error_report.h"
#include "client/cli/inputs.h"
#include "client/cli/name_option.h"
#include "client/cli/progress.h"
#include "client/cli/results.h"
#include "client/cli/tensor_text.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn backward dy.npy --session enc/bn1 --step 12 -o gradients.npz\n"
    "  bn backward dy.npy --session enc/bn1 --step 3 --x x.npy --gamma g.npy\n";

constexpr Role kRoles[] = {Role::kDy, Role::kX, Role::kGamma};

struct BackwardOptions {
  InputOptions inputs;
  std::string dy;  // the argument without a flag
  DestinationOptions destination;
  client::BackwardArgs args;
};

absl::StatusOr<client::BackwardArgs> ReadArgs(const BackwardOptions& options) {
  InputOptions inputs = options.inputs;
  if (!options.dy.empty()) inputs.files[Role::kDy] = options.dy;
  TensorReader reader(ReadOptionsOf(inputs));
  auto tensors = ReadInputs(inputs, kRoles, reader);
  if (!tensors.ok()) return tensors.status();
  auto dy = Take(*tensors, Role::kDy);
  if (!dy) {
    return ToStatus({"no dy", "gradients begin with that of the loss by y",
                     "name its file: bn backward dy.npy ..."});
  }
  client::BackwardArgs args = options.args;
  args.dy = *std::move(dy);
  args.x = Take(*tensors, Role::kX);
  args.gamma = Take(*tensors, Role::kGamma);
  return args;
}

std::vector<NamedTensor> TensorsOf(client::BackwardResult& result,
                                   bool only_dx) {
  std::vector<NamedTensor> tensors;
  tensors.push_back({"dx", std::move(result.dx)});
  if (only_dx) return tensors;
  tensors.push_back(PerChannel(Role::kDgamma, result.dgamma));
  tensors.push_back(PerChannel(Role::kDbeta, result.dbeta));
  return tensors;
}

absl::StatusOr<int> RunBackward(const BackwardOptions& options,
                                const GlobalOptions& global) {
  auto args = ReadArgs(options);
  if (!args.ok()) return args.status();
  const bool only_dx = HoldsOne(options.destination);
  auto destination =
      Destination::Open(options.destination, {1, args->dy.dtype});
  if (!destination.ok()) return destination.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  auto result = WithProgress("differentiating " + Summary("dy", args->dy), [&] {
    return client->Backward(*std::move(args));
  });
  if (!result.ok()) return result.status();
  const std::string& session = options.args.session;
  absl::Status delivered = destination->Deliver(
      TensorsOf(*result, only_dx),
      fmt::format("{}: gradients of step {}", session, result->step),
      {{"session", session}, {"step", result->step}}, FormatOf(global));
  if (!delivered.ok()) return delivered;
  return kYes;
}

}  // namespace

void AddBackwardCommand(const CommandRegistry& registry) {
  const auto options = std::make_shared<BackwardOptions>();
  CLI::App* const command =
      AddSubcommand(registry.app, "backward",
                    "Computes the gradients of one step", kExamples);
  client::BackwardArgs& args = options->args;
  command
      ->add_option("DY", options->dy,
                   "the gradient of the loss by y: the same as --dy")
      ->type_name("FILE");
  command->add_option("--session", args.session, "its name")
      ->envname(EnvironmentName("--session"))
      ->required()
      ->check(PrintableAscii());
  command->add_option("--step", args.step, "whose gradients are meant")
      ->required();
  command->add_option("--rank", args.rank,
                      "of this caller, in a session of several (0)");
  command->add_option("--pass", args.pass,
                      "which backward of the step it is, alike on all ranks");
  command->add_option("--acknowledged-step", args.acknowledged_step,
                      "the last step whose reply was seen");
  command
      ->add_option("--writer-token", args.writer_token,
                   "of `bn session acquire`")
      ->envname(EnvironmentName("--writer-token"));
  AddInputOptions(*command, kRoles, options->inputs);
  AddDestinationOptions(*command, options->destination);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunBackward(*options, global);
    };
  });
}

}  // namespace batchnorm::cli
