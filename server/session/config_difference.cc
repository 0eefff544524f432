#include "server/session/config_difference.h"

#include <array>

#include "server/session/text.h"

namespace batchnorm::session {

namespace {

std::string Averaging(const Normalization& normalization) {
  return normalization.new_weight.has_value() ? Text(*normalization.new_weight)
                                              : "cumulative";
}

std::string Name(DegeneratePolicy policy) {
  constexpr std::array kNames = {"REJECT", "UNIT_CORRECTION", "IEEE"};
  return kNames.at(static_cast<std::size_t>(policy));
}

std::string Name(GradientReduction reduction) {
  constexpr std::array kNames = {"LOCAL", "SUM", "MEAN"};
  return kNames.at(static_cast<std::size_t>(reduction));
}

std::string Name(KeptInputPolicy policy) {
  return policy == KeptInputPolicy::kKeep ? "KEEP" : "DISCARD";
}

std::string Name(NonFinitePolicy policy) {
  return policy == NonFinitePolicy::kReject ? "REJECT" : "PROPAGATE";
}

struct Field {
  const char* name;
  std::string (*text)(const SessionConfig&);
};

// Equal texts are equal values: numbers are written with all their digits.
constexpr std::array kFields = {
    Field{"channels",
          [](const SessionConfig& c) { return std::to_string(c.channels); }},
    Field{"normalization.channel_axes",
          [](const SessionConfig& c) {
            return Text(c.normalization.channel_axes);
          }},
    Field{"normalization.eps",
          [](const SessionConfig& c) { return Text(c.normalization.eps); }},
    Field{"normalization.new_weight",
          [](const SessionConfig& c) { return Averaging(c.normalization); }},
    Field{"normalization.running_ddof",
          [](const SessionConfig& c) {
            return std::to_string(c.normalization.running_ddof);
          }},
    Field{"normalization.degenerate_policy",
          [](const SessionConfig& c) {
            return Name(c.normalization.degenerate_policy);
          }},
    Field{"world_size",
          [](const SessionConfig& c) { return std::to_string(c.world_size); }},
    Field{"step_window",
          [](const SessionConfig& c) { return std::to_string(c.step_window); }},
    Field{"gradient_reduction",
          [](const SessionConfig& c) { return Name(c.gradient_reduction); }},
    Field{"kept_input_policy",
          [](const SessionConfig& c) { return Name(c.kept_input_policy); }},
    Field{"non_finite_policy",
          [](const SessionConfig& c) { return Name(c.non_finite_policy); }},
};

}  // namespace

std::optional<ConfigDifference> FindDifference(const SessionConfig& first,
                                               const SessionConfig& second) {
  for (const Field& field : kFields) {
    const std::string in_first = field.text(first);
    const std::string in_second = field.text(second);
    if (in_first == in_second) continue;
    return ConfigDifference{std::string("config.") + field.name, in_first,
                            in_second};
  }
  return std::nullopt;
}

}  // namespace batchnorm::session
