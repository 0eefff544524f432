#include "server/session/group_pass.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/fingerprint.h"
#include "server/session/forward_pass.h"
#include "server/session/policy.h"

namespace batchnorm::session {

namespace {

// Where each rank gets gradients of its own.
kernel::Gradients OwnGradients(const BackwardShard& shard,
                               const GroupStep& step,
                               const SessionConfig& config) {
  const Normalization& constants = config.normalization;
  return FinishBackward(step.batch->sums, shard.sums, constants.eps,
                        ToKernel(constants.degenerate_policy));
}

absl::Status MissingSums() {
  return InvalidField("sums", "BAD_SUMS",
                      "expected forward or backward, got neither");
}

absl::Status CheckSums(std::int64_t channels, const SessionConfig& config,
                       std::string_view field) {
  if (channels == config.channels) return absl::OkStatus();
  return InvalidField(
      field, "WRONG_CHANNELS",
      absl::StrCat("expected ", config.channels, " channels, got ", channels));
}

absl::Status RefuseNonFinite(const kernel::ForwardSums& sums,
                             const SessionConfig& config) {
  if (config.non_finite_policy != NonFinitePolicy::kReject) {
    return absl::OkStatus();
  }
  for (std::int64_t channel = 0; channel < sums.channels(); ++channel) {
    if (sums.totals(channel).is_finite()) continue;
    return MakeError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("forward: expected sums of finite numbers, got others in "
                     "channel ",
                     channel),
        {.reason = "NON_FINITE_INPUT",
         .field = "forward",
         .metadata = {{"channel", absl::StrCat(channel)}}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ForwardShard> SumForward(ForwardCall call,
                                        const SessionConfig& config,
                                        const TensorLimits& limits,
                                        kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  absl::StatusOr<CheckedForward> checked = CheckForward(call, config, limits);
  if (!checked.ok()) return checked.status();
  kernel::ForwardSums sums(config.channels, call.x.dtype);
  sums.Add(checked->input.layout, 0, call.x.view(), workers);
  if (config.non_finite_policy == NonFinitePolicy::kReject) {
    absl::Status finite = RefuseNonFinite(call.x, checked->input.layout, sums);
    if (!finite.ok()) return finite;
  }
  const std::optional<double> new_weight =
      call.new_weight.has_value() ? call.new_weight
                                  : config.normalization.new_weight;
  const Fingerprint fingerprint = {
      .input = InputDigest(call.rank, call.x.dtype, call.x.shape,
                           checked->input.gamma, sums.Serialize()),
      .parameters = ParameterDigest(new_weight, checked->beta)};
  return ForwardShard{
      std::move(call),
      std::make_shared<const CheckedForward>(*std::move(checked)),
      std::move(sums), fingerprint, new_weight};
}

std::shared_ptr<const KeptInput> InputOf(
    const ForwardShard& shard,
    std::shared_ptr<const kernel::TrainBatch> batch) {
  const CheckedInput& input = shard.checked->input;
  return std::make_shared<const KeptInput>(
      KeptInput{shard.call.x, input.layout, input.gamma, std::move(batch)});
}

absl::StatusOr<ResentShard> SumResent(const BackwardCall& call, const Tensor& x,
                                      const SessionConfig& config,
                                      const TensorLimits& limits,
                                      kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  absl::StatusOr<CheckedInput> input =
      CheckInput(x, call.gamma, config, limits);
  if (!input.ok()) return input.status();
  kernel::ForwardSums sums(config.channels, x.dtype);
  sums.Add(input->layout, 0, x.view(), workers);
  const Digest digest =
      InputDigest(call.rank, x.dtype, x.shape, input->gamma, sums.Serialize());
  return ResentShard{
      {x, std::move(input->layout), std::move(input->gamma), nullptr}, digest};
}

absl::StatusOr<BackwardShard> SumBackward(
    BackwardCall call, std::shared_ptr<const KeptInput> input,
    const SessionConfig& config, const TensorLimits& limits,
    kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  absl::Status status = CheckGradientShape(call.dy, input->x);
  if (status.ok()) {
    status = CheckBackwardReply(input->x, config.channels, limits);
  }
  if (!status.ok()) return status;
  kernel::BackwardSums sums(config.channels, input->x.dtype, call.dy.dtype);
  sums.Add(input->layout, 0, input->x.view(), call.dy.view(), workers);
  const Digest digest = InputDigest(call.rank, call.dy.dtype, call.dy.shape, {},
                                    sums.Serialize());
  return BackwardShard{std::move(call), std::move(input), std::move(sums),
                       digest};
}

absl::StatusOr<ForwardShard> TakeForwardSums(SyncCall call,
                                             const SessionConfig& config) {
  if (!call.forward.has_value()) return MissingSums();
  absl::Status status =
      CheckSums(call.forward->channels(), config, "forward.sum.limbs.shape");
  if (status.ok()) status = CheckNewWeight(call.new_weight);
  if (status.ok()) status = RefuseNonFinite(*call.forward, config);
  if (!status.ok()) return status;
  const std::optional<double> new_weight =
      call.new_weight.has_value() ? call.new_weight
                                  : config.normalization.new_weight;
  const Fingerprint fingerprint = {
      .input = call.carried, .parameters = ParameterDigest(new_weight, {})};
  ForwardCall forward;
  forward.step = call.step;
  forward.rank = call.rank;
  forward.acknowledged_step = call.acknowledged_step;
  forward.writer_token = std::move(call.writer_token);
  return ForwardShard{std::move(forward), nullptr, *std::move(call.forward),
                      fingerprint, new_weight};
}

absl::StatusOr<BackwardShard> TakeBackwardSums(SyncCall call,
                                               const SessionConfig& config) {
  if (!call.backward.has_value()) return MissingSums();
  absl::Status status = CheckSums(call.backward->channels(), config,
                                  "backward.sum_dy.limbs.shape");
  if (!status.ok()) return status;
  const Digest digest = call.carried;
  BackwardCall backward;
  backward.step = call.step;
  backward.rank = call.rank;
  backward.pass = call.pass;
  backward.acknowledged_step = call.acknowledged_step;
  backward.writer_token = std::move(call.writer_token);
  return BackwardShard{std::move(backward), nullptr, *std::move(call.backward),
                       digest};
}

SyncResult ResultOf(const ForwardShard& shard, const GroupStep& step) {
  SyncResult result;
  result.step = shard.call.step;
  result.batch = step.batch;
  return result;
}

SyncResult ResultOf(const BackwardShard& shard, const GroupStep& step,
                    const SessionConfig& config) {
  SyncResult result;
  result.step = shard.call.step;
  result.batch = step.batch;
  const std::shared_ptr<const GroupBackward>& pass =
      step.passes.at(shard.call.pass);
  if (config.gradient_reduction == GradientReduction::kLocal) {
    kernel::Gradients mixed = pass->gradients;  // k and means are of them all
    kernel::Gradients own = OwnGradients(shard, step, config);
    mixed.dgamma = std::move(own.dgamma);
    mixed.dbeta = std::move(own.dbeta);
    result.gradients =
        std::make_shared<const kernel::Gradients>(std::move(mixed));
  } else {
    result.gradients = {pass, &pass->gradients};
  }
  return result;
}

ForwardResult NormalizeShard(const ForwardShard& shard, const GroupStep& step,
                             kernel::Workers& workers) {
  ForwardResult result;
  result.step = shard.call.step;
  result.dtype = shard.call.x.dtype;
  result.shape = shard.call.x.shape;
  result.statistics = step.batch->statistics;
  result.y =
      Normalize(shard.call.x, *shard.checked, step.batch->statistics, workers);
  return result;
}

BackwardResult DifferentiateShard(const BackwardShard& shard,
                                  const GroupStep& step,
                                  const SessionConfig& config,
                                  kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  const KeptInput& input = *shard.input;
  const kernel::Gradients& whole = step.passes.at(shard.call.pass)->gradients;
  BackwardResult result;
  result.step = shard.call.step;
  result.dtype = input.x.dtype;
  result.shape = input.x.shape;
  const bool is_local = config.gradient_reduction == GradientReduction::kLocal;
  kernel::Gradients reduced =
      is_local ? OwnGradients(shard, step, config) : whole;
  result.dgamma = std::move(reduced.dgamma);
  result.dbeta = std::move(reduced.dbeta);
  result.dx.resize(input.x.view().bytes.size());
  ApplyBackward(input.layout, 0, input.x.view(), shard.call.dy.view(),
                step.batch->statistics, whole, input.gamma,
                {input.x.dtype, std::as_writable_bytes(std::span(result.dx))},
                workers);
  return result;
}

}  // namespace batchnorm::session
