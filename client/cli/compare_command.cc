#include "client/cli/compare_command.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/cli/bounds.h"
#include "client/cli/comparison.h"
#include "client/cli/comparison_view.h"
#include "client/cli/diagnosis.h"
#include "client/cli/error_report.h"
#include "client/cli/evaluation.h"
#include "client/cli/inputs.h"
#include "client/cli/layer_options.h"
#include "client/cli/mode_option.h"
#include "client/cli/progress.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn compare mine.npz --inputs inputs.npz --preset torch\n"
    "  bn compare y=y.npy dx=dx.npy --x x.npy --gamma g.npy --dy dy.npy\n"
    "  bn compare mine.safetensors --inputs inputs.npz --ulps 1\n"
    "  my_kernel < x.npy | bn compare y=- --x x.npy --rtol 1e-5 --atol 1e-6\n";

constexpr char kResultNames[] =
    "results are y, mean, var, inv_std, running_mean, running_var, dx, dgamma "
    "and dbeta, or a framework's names for them";

struct CompareOptions {
  std::vector<std::string> results;  // ARCHIVE, FILE or NAME=FILE
  InputOptions inputs;
  LayerOptions layer;
  ModeOption mode;
  std::int64_t batch_count = 0;
  std::optional<double> rtol;
  std::optional<double> atol;
  std::optional<double> ulps;
};

bool IsResultName(std::string_view name) {
  const auto role = RoleOf(name);
  return role && IsResult(*role);
}

absl::Status NoResult(const std::string& file) {
  return ToStatus({fmt::format("{}: no result has this name", file),
                   kResultNames, "say what it is: y=" + file});
}

// The role of a file that holds one tensor: NAME of NAME=FILE, or its stem.
absl::StatusOr<Role> RoleOfFile(const std::string& name,
                                const std::string& file) {
  const std::string stem =
      name.empty() ? std::filesystem::path(file).stem().string() : name;
  const auto role = RoleOf(stem);
  if (role && IsResult(*role)) return *role;
  return NoResult(file);
}

absl::StatusOr<TensorsByRole> ReadArchive(const std::string& file,
                                          TensorReader& reader) {
  auto archive = reader.ReadAll(ParseReference(file), IsResultName);
  if (!archive.ok()) return archive.status();
  if (!archive->tensors.empty()) return ByRole(*std::move(archive), file);
  return ToStatus(
      {fmt::format("{}: no result in it", file), kResultNames,
       fmt::format("it has {}", fmt::join(archive->skipped, ", "))});
}

absl::StatusOr<TensorsByRole> ReadOneFile(const std::string& name,
                                          const std::string& file,
                                          TensorReader& reader) {
  const auto role = RoleOfFile(name, file);
  if (!role.ok()) return role.status();
  auto tensor = reader.ReadOne(
      file, [&](std::string_view member) { return RoleOf(member) == *role; });
  if (!tensor.ok()) return tensor.status();
  TensorsByRole tensors;
  tensors.emplace(*role, *std::move(tensor));
  return tensors;
}

// The tensors of one argument.
absl::StatusOr<TensorsByRole> ReadResult(const std::string& argument,
                                         PipeFormat pipe,
                                         TensorReader& reader) {
  const std::size_t equals = argument.find('=');
  const bool named = equals != std::string::npos;
  const std::string name = named ? argument.substr(0, equals) : "";
  const std::string file = named ? argument.substr(equals + 1) : argument;
  const FileReference reference = ParseReference(file);
  const auto format = FormatOf(reference.path, pipe);
  if (!format.ok()) return format.status();
  if (!named && reference.member.empty() && HoldsManyTensors(*format)) {
    return ReadArchive(file, reader);
  }
  return ReadOneFile(name.empty() ? reference.member : name, file, reader);
}

absl::StatusOr<TensorsByRole> ReadResults(const CompareOptions& options,
                                          TensorReader& reader) {
  const PipeFormat pipe = ReadOptionsOf(options.inputs).input_format;
  TensorsByRole all;
  for (const std::string& argument : options.results) {
    auto tensors = ReadResult(argument, pipe, reader);
    if (!tensors.ok()) return tensors.status();
    for (auto& [role, tensor] : *tensors) {
      if (!all.emplace(role, std::move(tensor)).second) {
        return ToStatus({fmt::format("{} is given twice", NameOf(role)),
                         fmt::format("the second time by {}", argument), ""});
      }
    }
  }
  return all;
}

absl::Status NeedsDy(Role role) {
  return ToStatus({fmt::format("{} without dy", NameOf(role)),
                   "a gradient is computed from that of the loss by y",
                   "name its file with --dy"});
}

absl::Status CheckComparable(const TensorsByRole& results,
                             const client::EvaluateArgs& args) {
  for (const auto& [role, tensor] : results) {
    const bool gradient =
        role == Role::kDx || role == Role::kDgamma || role == Role::kDbeta;
    if (gradient && !args.dy) return NeedsDy(role);
    const bool running =
        role == Role::kRunningMean || role == Role::kRunningVar;
    if (running && args.mode == client::Mode::kInference) {
      return ToStatus({fmt::format("{} in --mode inference", NameOf(role)),
                       "inference leaves the running statistics as they are",
                       "leave it out, or compare in --mode train"});
    }
  }
  return absl::OkStatus();
}

// x with double elements: the truth then comes back as doubles too.
Tensor Widened(const Tensor& tensor) {
  if (tensor.dtype == Dtype::kF64) return tensor;
  return MakeTensor(std::span<const double>(ToDoubles(tensor)), tensor.shape);
}

// What is needed for the results and for their bounds.
std::vector<client::Output> OutputsFor(const TensorsByRole& results,
                                       const client::EvaluateArgs& args) {
  std::set<Role> roles = {Role::kMean};
  if (args.dy) roles.insert({Role::kDgamma, Role::kDbeta});
  for (const auto& [role, tensor] : results) roles.insert(role);
  return OutputsFor(roles);
}

Tolerance ToleranceOf(const CompareOptions& options) {
  Tolerance tolerance;
  if (options.ulps) {
    tolerance.ulps = *options.ulps;
    tolerance.with_slack = false;
  }
  if (options.rtol || options.atol) {
    tolerance.relative =
        Tolerance::Relative{options.rtol.value_or(0), options.atol.value_or(0)};
  }
  return tolerance;
}

absl::StatusOr<client::EvaluateArgs> ReadArgs(const CompareOptions& options,
                                              TensorReader& reader) {
  auto tensors = ReadInputs(options.inputs, InputRoles(), reader);
  if (!tensors.ok()) return tensors.status();
  auto args = ArgsOf(*std::move(tensors), options.batch_count);
  if (!args.ok()) return args.status();
  auto layer = NormalizationOf(options.layer);
  if (!layer.ok()) return layer.status();
  for (const std::string& note : layer->notes) PrintNote(note);
  args->normalization = layer->normalization;
  args->mode = options.mode.mode();
  args->x = Widened(args->x);
  return args;
}

absl::StatusOr<client::EvaluateResult> Evaluate(
    const client::EvaluateArgs& args, const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  return WithProgress("computing what is true of " + Summary("x", args.x),
                      [&] { return client->Evaluate(args); });
}

std::vector<NamedComparison> CompareAll(const TensorsByRole& results,
                                        const TruthOfBatch& truth,
                                        const Tolerance& tolerance) {
  std::vector<NamedComparison> comparisons;
  for (const Role role : ResultRoles()) {
    const auto theirs = results.find(role);
    if (theirs == results.end()) continue;
    const Dtype dtype = theirs->second.dtype;
    const auto expected = truth.Expect(role, dtype);
    if (!expected) continue;
    comparisons.push_back(
        {role, dtype, Compare(theirs->second, *expected, tolerance)});
  }
  return comparisons;
}

// Tells of data on which the default bound asks for little.
void NoteCondition(const TruthOfBatch& truth, const Tolerance& tolerance) {
  constexpr double kHigh = 1000;
  const double condition = truth.Condition();
  if (tolerance.relative || !tolerance.with_slack || !(condition > kHigh)) {
    return;
  }
  PrintNote(
      fmt::format("|x| is {:.2g} standard deviations: the bound allows "
                  "for a rounded mean, --ulps 4 does not",
                  condition));
}

absl::StatusOr<int> RunCompare(const CompareOptions& options,
                               const GlobalOptions& global) {
  TensorReader reader(ReadOptionsOf(options.inputs));
  const auto results = ReadResults(options, reader);
  if (!results.ok()) return results.status();
  auto args = ReadArgs(options, reader);
  if (!args.ok()) return args.status();
  absl::Status comparable = CheckComparable(*results, *args);
  if (!comparable.ok()) return comparable;
  args->outputs = OutputsFor(*results, *args);
  auto answer = Evaluate(*args, global);
  if (!answer.ok()) return answer.status();
  const TruthOfBatch truth(*args, *std::move(answer));
  const Tolerance tolerance = ToleranceOf(options);
  NoteCondition(truth, tolerance);
  const auto comparisons = CompareAll(*results, truth, tolerance);
  const OutputFormat format = FormatOf(global);
  Print(ComparisonTable(comparisons), JsonOf(comparisons, tolerance), format);
  if (format == OutputFormat::kTable) Print(VerdictText(comparisons));
  return AllPass(comparisons) ? kYes : kNo;
}

// CLI::NonNegativeNumber lets NaN and Inf pass.
CLI::Validator FiniteBound() {
  return CLI::Validator(
      [](const std::string& text) {
        double value = -1;
        const bool good = CLI::detail::lexical_cast(text, value) &&
                          std::isfinite(value) && value >= 0;
        return good ? "" : "expected a finite number, at least 0, got " + text;
      },
      "");
}

}  // namespace

void AddCompareCommand(const CommandRegistry& registry) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* const command =
      AddSubcommand(registry.app, "compare",
                    "Compares your results with the true ones", kExamples);
  command
      ->add_option("RESULTS", options->results,
                   "an archive, NAME=FILE, or a file with a result's name")
      ->required();
  AddInputOptions(*command, InputRoles(), options->inputs);
  AddModeOption(*command, options->mode);
  command
      ->add_option("--batch-count", options->batch_count,
                   "batches in the running statistics, for --cumulative")
      ->group("Inputs");
  const auto add_bound = [&](const char* name, std::optional<double>& value,
                             const char* text) {
    return command->add_option(name, value, text)
        ->envname(EnvironmentName(name))
        ->check(FiniteBound())
        ->group("Bound");
  };
  CLI::Option* const ulps =
      add_bound("--ulps", options->ulps,
                "|error| <= ULPS ulp of the terms' magnitude, and no more");
  add_bound("--rtol", options->rtol, "|error| <= atol + rtol |true|")
      ->excludes(ulps);
  add_bound("--atol", options->atol, "see --rtol")->excludes(ulps);
  AddLayerOptions(*command, options->layer);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunCompare(*options, global);
    };
  });
}

}  // namespace batchnorm::cli
