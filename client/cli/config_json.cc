#include "client/cli/config_json.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>
#include <string>

#include "client/cli/diagnosis.h"
#include "client/cli/output.h"

namespace batchnorm::cli {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The values of each enum, in order.
constexpr std::array<std::string_view, 3> kDegenerate = {"reject", "unit",
                                                         "ieee"};
constexpr std::array<std::string_view, 3> kReductions = {"local", "sum",
                                                         "mean"};
constexpr std::array<std::string_view, 2> kKeptInputs = {"keep", "discard"};
constexpr std::array<std::string_view, 2> kNonFinite = {"reject", "propagate"};

template <typename Enum, std::size_t kSize>
std::string_view Name(const std::array<std::string_view, kSize>& names,
                      Enum value) {
  return names.at(static_cast<std::size_t>(value));
}

template <typename Enum, std::size_t kSize>
Enum ValueOf(const std::array<std::string_view, kSize>& names,
             const std::string& name) {
  for (std::size_t i = 0; i < kSize; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  throw std::invalid_argument(fmt::format("'{}' is not a value", name));
}

// Throws what nlohmann::json throws, or std::invalid_argument.
client::SessionConfig Read(const json& from) {
  client::SessionConfig config;
  client::Normalization& constants = config.normalization;
  from.at("channels").get_to(config.channels);
  from.at("channel_axes").get_to(constants.channel_axes);
  from.at("eps").get_to(constants.eps);
  if (from.contains("new_weight")) {
    constants.new_weight = from.at("new_weight").get<double>();
  } else if (from.at("cumulative").get<bool>()) {
    constants.new_weight = std::nullopt;
  }
  from.at("running_ddof").get_to(constants.running_ddof);
  constants.degenerate_policy = ValueOf<client::DegeneratePolicy>(
      kDegenerate, from.at("degenerate_policy"));
  from.at("world_size").get_to(config.world_size);
  from.at("step_window").get_to(config.step_window);
  config.gradient_reduction = ValueOf<client::GradientReduction>(
      kReductions, from.at("gradient_reduction"));
  config.kept_input_policy = ValueOf<client::KeptInputPolicy>(
      kKeptInputs, from.at("kept_input_policy"));
  config.non_finite_policy = ValueOf<client::NonFinitePolicy>(
      kNonFinite, from.at("non_finite_policy"));
  return config;
}

}  // namespace

std::string_view NameOf(client::DegeneratePolicy policy) {
  return Name(kDegenerate, policy);
}

std::string_view NameOf(client::NonFinitePolicy policy) {
  return Name(kNonFinite, policy);
}

ordered_json JsonOf(const client::SessionConfig& config) {
  const client::Normalization& constants = config.normalization;
  ordered_json json;
  json["channels"] = config.channels;
  json["channel_axes"] = constants.channel_axes;
  json["eps"] = JsonNumber(constants.eps);
  if (constants.new_weight) {
    json["new_weight"] = JsonNumber(*constants.new_weight);
  } else {
    json["cumulative"] = true;
  }
  json["running_ddof"] = constants.running_ddof;
  json["degenerate_policy"] = Name(kDegenerate, constants.degenerate_policy);
  json["world_size"] = config.world_size;
  json["step_window"] = config.step_window;
  json["gradient_reduction"] = Name(kReductions, config.gradient_reduction);
  json["kept_input_policy"] = Name(kKeptInputs, config.kept_input_policy);
  json["non_finite_policy"] = Name(kNonFinite, config.non_finite_policy);
  return json;
}

absl::StatusOr<client::SessionConfig> ParseConfig(std::string_view text) {
  try {
    return Read(json::parse(text));
  } catch (const std::exception& error) {
    return ToStatus({"the snapshot's configuration cannot be read",
                     error.what(),
                     "the file was changed or damaged: export it again"});
  }
}

}  // namespace batchnorm::cli
