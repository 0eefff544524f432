#include "client/presets.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace batchnorm::client {
namespace {

// Whose weight a framework calls momentum.
enum class Momentum : std::uint8_t { kOfNewBatch, kOfOldAverage };

struct Convention {
  const char* name;
  Momentum sense;
  std::optional<double> momentum;  // the default; cudnn, miopen have none
  std::uint32_t running_ddof;
  double eps;
  double least_eps;  // smaller ones are taken as this
  std::int32_t channel_axis;
  DegeneratePolicy policy;
};

constexpr double kTfLeastEps = 1.001e-5;
// Taken where the framework asks its caller for a factor: what PyTorch gives.
constexpr double kUsualFactor = 0.1;

// Under ddof 0 a channel of one value needs no policy; IEEE there concerns
// var = 0 with eps = 0 alone, where these frameworks compute NaN.
constexpr std::array<Convention, 7> kConventions = {{
    {"torch", Momentum::kOfNewBatch, 0.1, 1, 1e-5, 0, 1,
     DegeneratePolicy::kReject},
    {"keras", Momentum::kOfOldAverage, 0.99, 0, 1e-3, 0, -1,
     DegeneratePolicy::kIeee},
    {"tf_fused", Momentum::kOfOldAverage, 0.99, 1, 1e-3, kTfLeastEps, -1,
     DegeneratePolicy::kUnitCorrection},
    {"flax", Momentum::kOfOldAverage, 0.99, 0, 1e-5, 0, -1,
     DegeneratePolicy::kIeee},
    {"onnx", Momentum::kOfOldAverage, 0.9, 0, 1e-5, 0, 1,
     DegeneratePolicy::kIeee},
    {"cudnn", Momentum::kOfNewBatch, std::nullopt, 1, 1e-5, 0, 1,
     DegeneratePolicy::kIeee},
    {"miopen", Momentum::kOfNewBatch, std::nullopt, 1, 1e-5, 0, 1,
     DegeneratePolicy::kUnitCorrection},
}};

const Convention* Find(std::string_view framework) {
  const auto* found = std::find_if(
      kConventions.begin(), kConventions.end(),
      [framework](const Convention& c) { return c.name == framework; });
  return found == kConventions.end() ? nullptr : found;
}

absl::Status CheckAveraging(const Convention& convention,
                            const PresetArgs& args) {
  if (!args.cumulative) return absl::OkStatus();
  if (std::string_view(convention.name) != "torch") {
    return absl::InvalidArgumentError(absl::StrCat(
        "only torch has a cumulative average, not ", convention.name));
  }
  if (args.momentum.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a momentum or the cumulative average, got ",
                     *args.momentum, " and both"));
  }
  return absl::OkStatus();
}

std::optional<double> NewWeight(const Convention& convention,
                                const PresetArgs& args,
                                std::vector<std::string>& notes) {
  if (args.cumulative) return std::nullopt;
  const std::optional<double> momentum =
      args.momentum.has_value() ? args.momentum : convention.momentum;
  if (!momentum.has_value()) {
    notes.push_back(absl::StrCat(convention.name, " has no default factor: ",
                                 kUsualFactor, " is taken"));
  }
  const double value = momentum.value_or(kUsualFactor);
  return convention.sense == Momentum::kOfNewBatch ? value : 1 - value;
}

double Eps(const Convention& convention, const PresetArgs& args,
           std::vector<std::string>& notes) {
  const double eps = args.eps.value_or(convention.eps);
  if (!(eps < convention.least_eps)) return eps;
  notes.push_back(absl::StrCat(convention.name, " raises eps ", eps, " to ",
                               convention.least_eps));
  return convention.least_eps;
}

}  // namespace

absl::StatusOr<PresetResult> Preset(std::string_view framework,
                                    const PresetArgs& args) {
  const Convention* convention = Find(framework);
  if (convention == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected a preset of ", absl::StrJoin(PresetNames(), ", "), "; got ",
        std::string(framework)));
  }
  absl::Status averaging = CheckAveraging(*convention, args);
  if (!averaging.ok()) return averaging;
  PresetResult result;
  Normalization& normalization = result.normalization;
  normalization.channel_axes = {
      args.channel_axis.value_or(convention->channel_axis)};
  normalization.eps = Eps(*convention, args, result.notes);
  normalization.new_weight = NewWeight(*convention, args, result.notes);
  normalization.running_ddof = convention->running_ddof;
  normalization.degenerate_policy = convention->policy;
  return result;
}

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  names.reserve(kConventions.size());
  for (const Convention& convention : kConventions) {
    names.emplace_back(convention.name);
  }
  return names;
}

}  // namespace batchnorm::client
