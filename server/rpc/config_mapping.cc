#include "server/rpc/config_mapping.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

constexpr std::uint32_t kDefaultStepWindow = 8;

// The first entry of each table is the default, which 0 also means.
template <typename Proto, typename Ours, std::size_t kSize>
using EnumTable = std::array<std::pair<Proto, Ours>, kSize>;

constexpr EnumTable<v1::DegeneratePolicy, session::DegeneratePolicy, 3>
    kDegeneratePolicies = {{
        {v1::DEGENERATE_POLICY_REJECT, session::DegeneratePolicy::kReject},
        {v1::DEGENERATE_POLICY_UNIT_CORRECTION,
         session::DegeneratePolicy::kUnitCorrection},
        {v1::DEGENERATE_POLICY_IEEE, session::DegeneratePolicy::kIeee},
    }};

constexpr EnumTable<v1::GradientReduction, session::GradientReduction, 3>
    kGradientReductions = {{
        {v1::GRADIENT_REDUCTION_LOCAL, session::GradientReduction::kLocal},
        {v1::GRADIENT_REDUCTION_SUM, session::GradientReduction::kSum},
        {v1::GRADIENT_REDUCTION_MEAN, session::GradientReduction::kMean},
    }};

constexpr EnumTable<v1::KeptInputPolicy, session::KeptInputPolicy, 2>
    kKeptInputPolicies = {{
        {v1::KEPT_INPUT_POLICY_KEEP, session::KeptInputPolicy::kKeep},
        {v1::KEPT_INPUT_POLICY_DISCARD, session::KeptInputPolicy::kDiscard},
    }};

constexpr EnumTable<v1::NonFinitePolicy, session::NonFinitePolicy, 2>
    kNonFinitePolicies = {{
        {v1::NON_FINITE_POLICY_REJECT, session::NonFinitePolicy::kReject},
        {v1::NON_FINITE_POLICY_PROPAGATE, session::NonFinitePolicy::kPropagate},
    }};

template <typename Table, typename Proto, typename Ours>
absl::Status ReadEnum(const Table& table, Proto value, const std::string& field,
                      Ours& ours) {
  if (value == Proto{}) value = table.front().first;
  for (const auto& [proto, mapped] : table) {
    if (proto != value) continue;
    ours = mapped;
    return absl::OkStatus();
  }
  return session::InvalidField(field, "BAD_CONFIG",
                               "expected 0 to " + std::to_string(table.size()) +
                                   ", got " + std::to_string(value));
}

template <typename Table, typename Ours>
auto ToProtoEnum(const Table& table, Ours value) {
  for (const auto& [proto, mapped] : table) {
    if (mapped == value) return proto;
  }
  return table.front().first;
}

absl::Status ReadAveraging(const v1::Normalization& proto,
                           std::string_view prefix,
                           session::Normalization& normalization) {
  if (proto.has_new_weight()) normalization.new_weight = proto.new_weight();
  if (!proto.has_cumulative()) return absl::OkStatus();
  normalization.new_weight = std::nullopt;
  if (proto.cumulative()) return absl::OkStatus();
  return session::InvalidField(
      std::string(prefix) + "cumulative", "BAD_CONFIG",
      "expected true or nothing, got false; to average with a "
      "weight give new_weight");
}

v1::Normalization ToProto(const session::Normalization& normalization) {
  v1::Normalization proto;
  for (const std::int32_t axis : normalization.channel_axes) {
    proto.add_channel_axes(axis);
  }
  proto.set_eps(normalization.eps);
  if (normalization.new_weight) {
    proto.set_new_weight(*normalization.new_weight);
  } else {
    proto.set_cumulative(true);
  }
  proto.set_running_ddof(normalization.running_ddof);
  proto.set_degenerate_policy(
      ToProtoEnum(kDegeneratePolicies, normalization.degenerate_policy));
  return proto;
}

}  // namespace

absl::StatusOr<session::Mode> FromProto(v1::Mode mode) {
  if (mode == v1::MODE_TRAIN) return session::Mode::kTrain;
  if (mode == v1::MODE_INFERENCE) return session::Mode::kInference;
  return session::InvalidField(
      "mode", "UNKNOWN_MODE",
      "expected MODE_TRAIN (1) or MODE_INFERENCE (2), got " +
          std::to_string(mode));
}

absl::StatusOr<session::Normalization> FromProto(const v1::Normalization& proto,
                                                 std::string_view prefix) {
  session::Normalization normalization;
  if (proto.channel_axes_size() > 0) {
    normalization.channel_axes.assign(proto.channel_axes().begin(),
                                      proto.channel_axes().end());
  }
  if (proto.has_eps()) normalization.eps = proto.eps();
  if (proto.has_running_ddof()) {
    normalization.running_ddof = proto.running_ddof();
  }
  absl::Status status = ReadAveraging(proto, prefix, normalization);
  status.Update(ReadEnum(kDegeneratePolicies, proto.degenerate_policy(),
                         std::string(prefix) + "degenerate_policy",
                         normalization.degenerate_policy));
  if (!status.ok()) return status;
  return normalization;
}

absl::StatusOr<session::SessionConfig> FromProto(
    const v1::SessionConfig& proto) {
  absl::StatusOr<session::Normalization> normalization =
      FromProto(proto.normalization(), "config.normalization.");
  if (!normalization.ok()) return normalization.status();
  session::SessionConfig config;
  config.channels = proto.channels();
  config.normalization = *std::move(normalization);
  config.world_size = proto.world_size() == 0 ? 1 : proto.world_size();
  config.step_window =
      proto.step_window() == 0 ? kDefaultStepWindow : proto.step_window();
  absl::Status status =
      ReadEnum(kGradientReductions, proto.gradient_reduction(),
               "config.gradient_reduction", config.gradient_reduction);
  status.Update(ReadEnum(kKeptInputPolicies, proto.kept_input_policy(),
                         "config.kept_input_policy", config.kept_input_policy));
  status.Update(ReadEnum(kNonFinitePolicies, proto.non_finite_policy(),
                         "config.non_finite_policy", config.non_finite_policy));
  if (!status.ok()) return status;
  return config;
}

v1::SessionConfig ToProto(const session::SessionConfig& config) {
  v1::SessionConfig proto;
  proto.set_channels(config.channels);
  *proto.mutable_normalization() = ToProto(config.normalization);
  proto.set_world_size(config.world_size);
  proto.set_step_window(config.step_window);
  proto.set_gradient_reduction(
      ToProtoEnum(kGradientReductions, config.gradient_reduction));
  proto.set_kept_input_policy(
      ToProtoEnum(kKeptInputPolicies, config.kept_input_policy));
  proto.set_non_finite_policy(
      ToProtoEnum(kNonFinitePolicies, config.non_finite_policy));
  return proto;
}

}  // namespace batchnorm::rpc
