#include "client/cli/layer_options.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "client/cli/command.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

constexpr char kGroup[] = "Layer";

absl::Status BadAxes(const std::string& text) {
  return ToStatus({fmt::format("--axis '{}' is not a list of axes", text),
                   "axes are whole numbers separated by commas; negative ones "
                   "count from the end",
                   "for example --axis 1, --axis -1 or --axis 0,2"});
}

absl::StatusOr<std::vector<std::int32_t>> ParseAxes(const std::string& text) {
  std::vector<std::int32_t> axes;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string axis(rest.substr(0, comma));
    rest.remove_prefix(comma == std::string_view::npos ? rest.size()
                                                       : comma + 1);
    std::int32_t value = 0;
    if (!absl::SimpleAtoi(axis, &value)) return BadAxes(text);
    axes.push_back(value);
  }
  return axes;
}

absl::Status CheckWords(const LayerOptions& options) {
  if (options.momentum && options.preset.empty()) {
    return ToStatus({"--momentum without --preset",
                     "PyTorch means the weight of the new batch, Keras, Flax "
                     "and ONNX that of the old average",
                     "name the framework with --preset, or use --new-weight"});
  }
  if (options.momentum && options.new_weight) {
    return ToStatus({"--momentum and --new-weight together",
                     "both say how a batch enters the running statistics",
                     "leave one out"});
  }
  if (options.cumulative && options.new_weight) {
    return ToStatus({"--cumulative and --new-weight together",
                     "a plain average gives the k-th batch the weight 1/k",
                     "leave one out"});
  }
  return absl::OkStatus();
}

absl::StatusOr<client::PresetResult> Start(const LayerOptions& options) {
  if (options.preset.empty()) return client::PresetResult{};
  client::PresetArgs args;
  args.momentum = options.momentum;
  args.cumulative = options.cumulative;
  args.eps = options.eps;
  auto preset = client::Preset(options.preset, args);
  if (preset.ok()) return preset;
  return ToStatus({fmt::format("--preset {}", options.preset),
                   std::string(preset.status().message()), ""});
}

client::DegeneratePolicy PolicyOf(std::string_view name) {
  if (name == "unit") return client::DegeneratePolicy::kUnitCorrection;
  if (name == "ieee") return client::DegeneratePolicy::kIeee;
  return client::DegeneratePolicy::kReject;
}

// What the flags say in this service's own words.
void Override(const LayerOptions& options, client::Normalization& constants) {
  if (options.preset.empty() && options.eps) constants.eps = *options.eps;
  if (options.new_weight) constants.new_weight = options.new_weight;
  if (options.cumulative) constants.new_weight = std::nullopt;
  if (options.ddof) constants.running_ddof = *options.ddof;
  if (!options.degenerate.empty()) {
    constants.degenerate_policy = PolicyOf(options.degenerate);
  }
}

}  // namespace

void AddLayerOptions(CLI::App& command, LayerOptions& options) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return command.add_option(name, value, text)
        ->envname(EnvironmentName(name))
        ->group(kGroup);
  };
  add("--preset", options.preset, "the conventions of a framework")
      ->check(CLI::IsMember(client::PresetNames()));
  add("--momentum", options.momentum, "with --preset, as it understands it");
  add("--eps", options.eps, "added to the variance (1e-5)");
  add("--new-weight", options.new_weight,
      "of a batch in the running statistics (0.1)");
  command
      .add_flag("--cumulative", options.cumulative,
                "running statistics are the plain average of all batches")
      ->envname(EnvironmentName("--cumulative"))
      ->group(kGroup);
  add("--ddof", options.ddof,
      "the running variance divides by n - this: 0 or 1 (1)")
      ->check(CLI::Range(0, 1));
  add("--axis", options.axes, "of the channels, e.g. 1, -1 or 0,2 (1)");
  add("--degenerate", options.degenerate,
      "channels that cannot be normalized: reject, unit or ieee")
      ->check(CLI::IsMember({"reject", "unit", "ieee"}));
}

absl::StatusOr<client::PresetResult> NormalizationOf(
    const LayerOptions& options) {
  absl::Status words = CheckWords(options);
  if (!words.ok()) return words;
  auto axes = ParseAxes(options.axes);
  if (!axes.ok()) return axes.status();
  auto result = Start(options);
  if (!result.ok()) return result.status();
  Override(options, result->normalization);
  if (!axes->empty()) result->normalization.channel_axes = *std::move(axes);
  return result;
}

}  // namespace batchnorm::cli
