#include "client/cli/eval_command.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "client/cli/diagnosis.h"
#include "client/cli/error_report.h"
#include "client/cli/evaluation.h"
#include "client/cli/inputs.h"
#include "client/cli/layer_options.h"
#include "client/cli/mode_option.h"
#include "client/cli/progress.h"
#include "client/cli/results.h"
#include "client/cli/tensor_text.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn eval --x x.npy --gamma g.npy --beta b.npy -o y.npy\n"
    "  bn eval --inputs layer.npz --preset torch -o results.npz\n"
    "  bn eval --x x.npy --dy dy.npy --outputs dx,dgamma -o gradients.npz\n"
    "  bn eval --x x.npy --mode inference --running-mean m.npy \\\n"
    "          --running-var v.npy\n"
    "  make_x | bn eval --x - -o - > y.npy\n";

struct EvalOptions {
  InputOptions inputs;
  LayerOptions layer;
  DestinationOptions destination;
  ModeOption mode;
  std::string outputs;
  std::int64_t batch_count = 0;
};

absl::Status NotAResult(const std::string& name) {
  return ToStatus({fmt::format("--outputs: '{}' is not a result", name),
                   "results are y, mean, var, inv_std, running_mean, "
                   "running_var, dx, dgamma and dbeta",
                   ""});
}

absl::StatusOr<std::set<Role>> ParseOutputs(std::string_view text) {
  std::set<Role> roles;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string name(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size()
                                                       : comma + 1);
    const auto role = RoleOf(name);
    if (!role || !IsResult(*role)) return NotAResult(name);
    roles.insert(*role);
  }
  return roles;
}

// What was asked for; else y where there is room for one, or all there is.
absl::StatusOr<std::set<Role>> WantedResults(const EvalOptions& options,
                                             const client::EvaluateArgs& args) {
  auto named = ParseOutputs(options.outputs);
  if (!named.ok() || !named->empty()) return named;
  if (HoldsOne(options.destination)) return std::set<Role>{Role::kY};
  return AllowedResults(args);
}

absl::StatusOr<client::EvaluateArgs> ReadArgs(const EvalOptions& options) {
  TensorReader reader(ReadOptionsOf(options.inputs));
  auto tensors = ReadInputs(options.inputs, InputRoles(), reader);
  if (!tensors.ok()) return tensors.status();
  auto args = ArgsOf(*std::move(tensors), options.batch_count);
  if (!args.ok()) return args.status();
  auto layer = NormalizationOf(options.layer);
  if (!layer.ok()) return layer.status();
  for (const std::string& note : layer->notes) PrintNote(note);
  args->normalization = layer->normalization;
  args->mode = options.mode.mode();
  return args;
}

absl::StatusOr<int> RunEval(const EvalOptions& options,
                            const GlobalOptions& global) {
  auto args = ReadArgs(options);
  if (!args.ok()) return args.status();
  const auto wanted = WantedResults(options, *args);
  if (!wanted.ok()) return wanted.status();
  auto destination =
      Destination::Open(options.destination, {wanted->size(), args->x.dtype});
  if (!destination.ok()) return destination.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  args->outputs = OutputsFor(*wanted);
  auto result = WithProgress("evaluating " + Summary("x", args->x), [&] {
    return client->Evaluate(*std::move(args));
  });
  if (!result.ok()) return result.status();
  const auto tensors = TensorsOf(*std::move(result), *wanted);
  absl::Status delivered = destination->Deliver(
      tensors, "", nlohmann::ordered_json::object(), FormatOf(global));
  if (!delivered.ok()) return delivered;
  return kYes;
}

}  // namespace

void AddEvalCommand(const CommandRegistry& registry) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* const command = AddSubcommand(
      registry.app, "eval", "Computes any result of a layer, without a session",
      kExamples);
  AddInputOptions(*command, InputRoles(), options->inputs);
  AddModeOption(*command, options->mode);
  command
      ->add_option("--outputs", options->outputs,
                   "which of y, mean, var, inv_std, running_mean, running_var, "
                   "dx, dgamma, dbeta (y, or all that the inputs allow)")
      ->group("Results");
  command
      ->add_option("--batch-count", options->batch_count,
                   "batches in the running statistics, for --cumulative")
      ->group("Inputs");
  AddDestinationOptions(*command, options->destination);
  AddLayerOptions(*command, options->layer);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunEval(*options, global);
    };
  });
}

}  // namespace batchnorm::cli
