#include "server/session/call_checks.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

// Shapes, field headers and numbers around the vectors of a reply.
constexpr std::int64_t kReplySlack = 1024;

// mean, mean_lo, var and inv_std; dgamma and dbeta.
constexpr std::int64_t kForwardVectors = 4;
constexpr std::int64_t kBackwardVectors = 2;

absl::Status CheckReply(const Tensor& like, std::int64_t vectors,
                        std::int64_t channels, const TensorLimits& limits) {
  const auto tensor_bytes = static_cast<std::int64_t>(like.view().bytes.size());
  const std::int64_t bytes = tensor_bytes +
                             vectors * channels * std::int64_t{sizeof(double)} +
                             kReplySlack;
  if (bytes <= limits.max_reply_bytes) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("x: expected a reply of at most ", limits.max_reply_bytes,
                   " bytes, got one of ", bytes, " for ", Text(like)),
      {.reason = "TOO_LARGE_FOR_UNARY",
       .field = "x",
       .metadata = {
           {"max_reply_bytes", absl::StrCat(limits.max_reply_bytes)}}});
}

absl::Status CheckForwardStep(const ForwardCall& call) {
  if (call.mode == Mode::kTrain || call.step == 0) return absl::OkStatus();
  return InvalidField(
      "step", "BAD_STEP",
      absl::StrCat("expected 0, INFERENCE takes no step, got ", call.step));
}

absl::Status CheckBackwardStep(const BackwardCall& call) {
  if (call.step != 0) return absl::OkStatus();
  return InvalidField("step", "BAD_STEP",
                      "expected the step of a Forward, at least 1, got 0");
}

absl::Status CheckNoLoneGamma(const BackwardCall& call) {
  if (call.x.has_value() || !call.gamma.has_value()) return absl::OkStatus();
  return InvalidField("x", "MISSING_INPUT",
                      "expected x with gamma, got gamma alone");
}

absl::StatusOr<std::vector<double>> CheckParameter(
    const std::optional<Tensor>& parameter, std::string_view field,
    std::int64_t channels, const TensorLimits& limits) {
  if (!parameter.has_value()) return std::vector<double>();
  absl::Status form = CheckTensor(*parameter, field, limits.max_tensor_bytes);
  if (!form.ok()) return form;
  return ChannelVector(&*parameter, channels, field);
}

absl::StatusOr<kernel::ChannelLayout> CheckX(const Tensor& x,
                                             const SessionConfig& config,
                                             const TensorLimits& limits) {
  absl::Status form = CheckTensor(x, "x", limits.max_tensor_bytes);
  if (!form.ok()) return form;
  const auto& axes = config.normalization.channel_axes;
  absl::StatusOr<kernel::ChannelLayout> layout = MakeLayout(x, axes);
  if (!layout.ok() || layout->channels() == config.channels) return layout;
  return InvalidField("x.shape", "WRONG_CHANNELS",
                      absl::StrCat("expected ", config.channels,
                                   " channels in axes ", Text(axes), ", got ",
                                   layout->channels(), " in ", Text(x.shape)));
}

absl::Status CheckForwardArguments(const ForwardCall& call,
                                   const SessionConfig& config,
                                   const TensorLimits& limits) {
  absl::Status status = CheckForwardStep(call);
  if (status.ok()) status = CheckNewWeight(call.new_weight);
  if (status.ok()) {
    status = CheckReply(call.x, kForwardVectors, config.channels, limits);
  }
  return status;
}

}  // namespace

absl::Status CheckNewWeight(std::optional<double> new_weight) {
  if (!new_weight.has_value() || std::isfinite(*new_weight)) {
    return absl::OkStatus();
  }
  return InvalidField("new_weight", "BAD_NEW_WEIGHT",
                      "expected a finite number, got " + Text(*new_weight));
}

absl::Status CheckRank(std::uint32_t rank, std::uint32_t world_size) {
  if (rank < world_size) return absl::OkStatus();
  return InvalidField("rank", "BAD_RANK",
                      absl::StrCat("expected less than the world size, ",
                                   world_size, ", got ", rank));
}

absl::StatusOr<CheckedForward> CheckForward(const ForwardCall& call,
                                            const SessionConfig& config,
                                            const TensorLimits& limits) {
  absl::StatusOr<CheckedInput> input =
      CheckInput(call.x, call.gamma, config, limits);
  if (!input.ok()) return input.status();
  absl::StatusOr<std::vector<double>> beta =
      CheckParameter(call.beta, "beta", config.channels, limits);
  if (!beta.ok()) return beta.status();
  absl::Status arguments = CheckForwardArguments(call, config, limits);
  if (!arguments.ok()) return arguments;
  return CheckedForward{*std::move(input), *std::move(beta)};
}

absl::Status CheckBackward(const BackwardCall& call,
                           const TensorLimits& limits) {
  absl::Status status = CheckTensor(call.dy, "dy", limits.max_tensor_bytes);
  if (status.ok()) status = CheckNoLoneGamma(call);
  if (status.ok()) status = CheckBackwardStep(call);
  return status;
}

absl::StatusOr<CheckedInput> CheckInput(const Tensor& x,
                                        const std::optional<Tensor>& gamma,
                                        const SessionConfig& config,
                                        const TensorLimits& limits) {
  absl::StatusOr<kernel::ChannelLayout> layout = CheckX(x, config, limits);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<std::vector<double>> values =
      CheckParameter(gamma, "gamma", config.channels, limits);
  if (!values.ok()) return values.status();
  return CheckedInput{*std::move(layout), *std::move(values)};
}

absl::Status CheckGradientShape(const Tensor& dy, const Tensor& x) {
  if (dy.shape == x.shape) return absl::OkStatus();
  return InvalidField("dy.shape", "BAD_TENSOR",
                      absl::StrCat("expected the shape of x, ", Text(x.shape),
                                   ", got ", Text(dy.shape)));
}

absl::Status CheckBackwardReply(const Tensor& x, std::int64_t channels,
                                const TensorLimits& limits) {
  return CheckReply(x, kBackwardVectors, channels, limits);
}

}  // namespace batchnorm::session
