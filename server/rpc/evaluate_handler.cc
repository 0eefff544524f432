#include "server/rpc/evaluate_handler.h"

#include <optional>
#include <string>
#include <utility>

#include "server/rpc/config_mapping.h"
#include "server/rpc/evaluation.h"
#include "server/rpc/result_mapping.h"
#include "server/rpc/tensor_mapping.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

using session::Mode;

// All that the inputs allow.
EvaluationOutputs DefaultOutputs(Mode mode,
                                 const v1::EvaluateRequest& request) {
  return {.y = true,
          .statistics = true,
          .running_statistics =
              mode == Mode::kTrain && request.has_running_statistics(),
          .dx = request.has_dy(),
          .dgamma = request.has_dy(),
          .dbeta = request.has_dy()};
}

// The flag of one output; null for values this build does not know.
bool* FlagOf(int output, EvaluationOutputs& outputs) {
  switch (output) {
    case v1::OUTPUT_Y:
      return &outputs.y;
    case v1::OUTPUT_STATISTICS:
      return &outputs.statistics;
    case v1::OUTPUT_RUNNING_STATISTICS:
      return &outputs.running_statistics;
    case v1::OUTPUT_DX:
      return &outputs.dx;
    case v1::OUTPUT_DGAMMA:
      return &outputs.dgamma;
    case v1::OUTPUT_DBETA:
      return &outputs.dbeta;
    default:
      return nullptr;
  }
}

absl::StatusOr<EvaluationOutputs> ReadOutputs(
    Mode mode, const v1::EvaluateRequest& request) {
  if (request.outputs().empty()) return DefaultOutputs(mode, request);
  EvaluationOutputs outputs;
  for (const int output : request.outputs()) {
    bool* flag = FlagOf(output, outputs);
    if (flag == nullptr) {
      return session::InvalidField(
          "outputs", "UNKNOWN_OUTPUT",
          "expected OUTPUT_Y (1) to OUTPUT_DBETA (6), got " +
              std::to_string(output));
    }
    *flag = true;
  }
  return outputs;
}

absl::Status CheckInputs(Mode mode, const EvaluationOutputs& outputs,
                         const v1::EvaluateRequest& request) {
  if (outputs.gradients() && !request.has_dy()) {
    return session::InvalidField(
        "dy", "MISSING_INPUT",
        "expected dy, as gradients are asked for; the request "
        "holds none");
  }
  if (mode == Mode::kTrain) return absl::OkStatus();
  if (outputs.running_statistics) {
    return session::InvalidField("outputs", "UNKNOWN_OUTPUT",
                                 "expected no OUTPUT_RUNNING_STATISTICS, as "
                                 "MODE_INFERENCE does not change them; got it");
  }
  if (!request.has_running_statistics()) {
    return session::InvalidField(
        "running_statistics", "MISSING_INPUT",
        "expected running_statistics, as MODE_INFERENCE "
        "normalizes with them; the request holds none");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<RunningTensors>> TakeRunning(
    v1::EvaluateRequest& request) {
  if (!request.has_running_statistics()) return std::optional<RunningTensors>();
  v1::RunningStatistics& running = *request.mutable_running_statistics();
  absl::StatusOr<session::Tensor> mean =
      TakeRequiredTensor(running.has_mean() ? running.mutable_mean() : nullptr,
                         "running_statistics.mean", "MISSING_INPUT");
  if (!mean.ok()) return mean.status();
  absl::StatusOr<session::Tensor> var =
      TakeRequiredTensor(running.has_var() ? running.mutable_var() : nullptr,
                         "running_statistics.var", "MISSING_INPUT");
  if (!var.ok()) return var.status();
  return std::optional<RunningTensors>({.mean = *std::move(mean),
                                        .var = *std::move(var),
                                        .batch_count = running.batch_count()});
}

absl::Status TakeTensors(v1::EvaluateRequest& request, EvaluationCall& call) {
  absl::StatusOr<session::Tensor> x = TakeRequiredTensor(
      request.has_x() ? request.mutable_x() : nullptr, "x", "MISSING_INPUT");
  if (!x.ok()) return x.status();
  absl::StatusOr<std::optional<session::Tensor>> dy = TakeOptionalTensor(
      request.has_dy() ? request.mutable_dy() : nullptr, "dy");
  if (!dy.ok()) return dy.status();
  absl::StatusOr<std::optional<session::Tensor>> gamma = TakeOptionalTensor(
      request.has_gamma() ? request.mutable_gamma() : nullptr, "gamma");
  if (!gamma.ok()) return gamma.status();
  absl::StatusOr<std::optional<session::Tensor>> beta = TakeOptionalTensor(
      request.has_beta() ? request.mutable_beta() : nullptr, "beta");
  if (!beta.ok()) return beta.status();
  absl::StatusOr<std::optional<RunningTensors>> running = TakeRunning(request);
  if (!running.ok()) return running.status();
  call.x = *std::move(x);
  call.dy = *std::move(dy);
  call.gamma = *std::move(gamma);
  call.beta = *std::move(beta);
  call.running = *std::move(running);
  return absl::OkStatus();
}

absl::StatusOr<session::Normalization> ReadNormalization(
    const v1::EvaluateRequest& request) {
  absl::StatusOr<session::Normalization> normalization =
      FromProto(request.normalization(), "normalization.");
  if (!normalization.ok()) return normalization;
  absl::Status valid = session::Validate(*normalization, "normalization.");
  if (!valid.ok()) return valid;
  return normalization;
}

absl::StatusOr<EvaluationCall> Take(v1::EvaluateRequest request) {
  const absl::StatusOr<Mode> mode = FromProto(request.mode());
  if (!mode.ok()) return mode.status();
  const absl::StatusOr<EvaluationOutputs> outputs = ReadOutputs(*mode, request);
  if (!outputs.ok()) return outputs.status();
  absl::Status complete = CheckInputs(*mode, *outputs, request);
  if (!complete.ok()) return complete;
  absl::StatusOr<session::Normalization> normalization =
      ReadNormalization(request);
  if (!normalization.ok()) return normalization.status();
  EvaluationCall call;
  call.mode = *mode;
  call.outputs = *outputs;
  call.normalization = *std::move(normalization);
  if (absl::Status taken = TakeTensors(request, call); !taken.ok()) {
    return taken;
  }
  return call;
}

}  // namespace

absl::StatusOr<v1::EvaluateResponse> Evaluate(
    const session::TensorLimits& limits, kernel::Workers& workers,
    v1::EvaluateRequest request) {
  const absl::StatusOr<EvaluationCall> call = Take(std::move(request));
  if (!call.ok()) return call.status();
  absl::StatusOr<EvaluationResult> result = Evaluate(*call, limits, workers);
  if (!result.ok()) return result.status();
  return ToProto(*std::move(result));
}

}  // namespace batchnorm::rpc
