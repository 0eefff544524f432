#include "server/rpc/evaluation.h"

#include <span>
#include <string_view>
#include <utility>

#include "server/kernel/channel_layout.h"
#include "server/kernel/channel_sums.h"
#include "server/rpc/error_mapping.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

using kernel::BackwardSums;
using kernel::ChannelLayout;
using kernel::ForwardSums;
using kernel::Gradients;
using kernel::Statistics;
using session::Mode;

// Vectors, shapes and framing of a reply, a channel and once.
constexpr std::int64_t kReplyBytesPerChannel = 8 * sizeof(double);
constexpr std::int64_t kReplyFramingBytes = 1024;

// A call whose inputs have been checked and read.
struct Inputs {
  const EvaluationCall& call;
  ChannelLayout layout;
  std::vector<double> gamma;
  std::vector<double> beta;
  session::RunningStatistics running;

  const session::Normalization& normalization() const {
    return call.normalization;
  }
  kernel::TensorView x() const { return call.x.view(); }
};

kernel::Degenerate ToKernel(session::DegeneratePolicy policy) {
  return policy == session::DegeneratePolicy::kUnitCorrection
             ? kernel::Degenerate::kUnitCorrection
             : kernel::Degenerate::kIeee;
}

int RunningDdof(const session::Normalization& normalization) {
  return static_cast<int>(normalization.running_ddof);
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) {
    text += (text.empty() ? "[" : ", ") + std::to_string(size);
  }
  return text + "]";
}

absl::Status CheckDy(const EvaluationCall& call, std::int64_t max_bytes) {
  if (!call.dy) return absl::OkStatus();
  absl::Status status = session::CheckTensor(*call.dy, "dy", max_bytes);
  if (!status.ok() || call.dy->shape == call.x.shape) return status;
  return InvalidField("BAD_TENSOR", "dy.shape",
                      "expected the shape of x, " + ShapeText(call.x.shape) +
                          ", got " + ShapeText(call.dy->shape));
}

absl::Status CheckReplySize(const EvaluationCall& call, std::int64_t channels,
                            std::int64_t limit) {
  const auto x_bytes = static_cast<std::int64_t>(call.x.data->size());
  const std::int64_t tensors =
      (call.outputs.y ? x_bytes : 0) + (call.outputs.dx ? x_bytes : 0);
  const std::int64_t bytes =
      tensors + channels * kReplyBytesPerChannel + kReplyFramingBytes;
  if (bytes <= limit) return absl::OkStatus();
  return session::MakeError(
      absl::StatusCode::kResourceExhausted,
      "the reply would have about " + std::to_string(bytes) +
          " bytes, more than the " + std::to_string(limit) +
          " of a message; ask for fewer outputs at once",
      {.reason = "TOO_LARGE_FOR_UNARY",
       .field = "outputs",
       .metadata = {},
       .retry_after = std::nullopt});
}

absl::StatusOr<std::vector<double>> ReadChannels(const session::Tensor* tensor,
                                                 std::int64_t channels,
                                                 std::string_view field,
                                                 std::int64_t max_bytes) {
  if (tensor != nullptr) {
    absl::Status status = session::CheckTensor(*tensor, field, max_bytes);
    if (!status.ok()) return status;
  }
  return session::ChannelVector(tensor, channels, field);
}

const session::Tensor* PointerTo(const std::optional<session::Tensor>& tensor) {
  return tensor ? &*tensor : nullptr;
}

absl::Status CheckRunning(Mode mode,
                          const session::RunningStatistics& running) {
  if (running.batch_count < 0) {
    return InvalidField(
        "BAD_CONFIG", "running_statistics.batch_count",
        "expected at least 0, got " + std::to_string(running.batch_count));
  }
  if (mode == Mode::kTrain) return absl::OkStatus();
  for (std::size_t channel = 0; channel < running.var.size(); ++channel) {
    if (!(running.var[channel] < 0)) continue;
    return InvalidField("BAD_TENSOR", "running_statistics.var",
                        "expected variances of at least 0, got " +
                            std::to_string(running.var[channel]) +
                            " in channel " + std::to_string(channel));
  }
  return absl::OkStatus();
}

absl::StatusOr<session::RunningStatistics> ReadRunning(
    const EvaluationCall& call, std::int64_t channels, std::int64_t max_bytes) {
  session::RunningStatistics running;
  if (!call.running) {
    const auto size = static_cast<std::size_t>(channels);
    running.mean.assign(size, 0.0);
    running.var.assign(size, 1.0);
    return running;
  }
  absl::StatusOr<std::vector<double>> mean = ReadChannels(
      &call.running->mean, channels, "running_statistics.mean", max_bytes);
  if (!mean.ok()) return mean.status();
  absl::StatusOr<std::vector<double>> var = ReadChannels(
      &call.running->var, channels, "running_statistics.var", max_bytes);
  if (!var.ok()) return var.status();
  running.mean = *std::move(mean);
  running.var = *std::move(var);
  running.batch_count = call.running->batch_count;
  if (absl::Status status = CheckRunning(call.mode, running); !status.ok()) {
    return status;
  }
  return running;
}

absl::StatusOr<ChannelLayout> CheckTensors(
    const EvaluationCall& call, const session::TensorLimits& limits) {
  absl::Status status =
      session::CheckTensor(call.x, "x", limits.max_tensor_bytes);
  status.Update(CheckDy(call, limits.max_tensor_bytes));
  if (!status.ok()) return status;
  absl::StatusOr<ChannelLayout> layout =
      session::MakeLayout(call.x, call.normalization.channel_axes);
  if (!layout.ok()) return layout.status();
  status = CheckReplySize(call, layout->channels(), limits.max_reply_bytes);
  if (!status.ok()) return status;
  return layout;
}

absl::StatusOr<Inputs> Read(const EvaluationCall& call,
                            const session::TensorLimits& limits) {
  const absl::StatusOr<ChannelLayout> layout = CheckTensors(call, limits);
  if (!layout.ok()) return layout.status();
  const std::int64_t channels = layout->channels();
  const std::int64_t max_bytes = limits.max_tensor_bytes;
  absl::StatusOr<std::vector<double>> gamma =
      ReadChannels(PointerTo(call.gamma), channels, "gamma", max_bytes);
  if (!gamma.ok()) return gamma.status();
  absl::StatusOr<std::vector<double>> beta =
      ReadChannels(PointerTo(call.beta), channels, "beta", max_bytes);
  if (!beta.ok()) return beta.status();
  absl::StatusOr<session::RunningStatistics> running =
      ReadRunning(call, channels, max_bytes);
  if (!running.ok()) return running.status();
  return Inputs{.call = call,
                .layout = *layout,
                .gamma = *std::move(gamma),
                .beta = *std::move(beta),
                .running = *std::move(running)};
}

absl::Status CheckDegeneracy(const Inputs& inputs, const ForwardSums& sums) {
  const session::Normalization& normalization = inputs.normalization();
  if (normalization.degenerate_policy != session::DegeneratePolicy::kReject) {
    return absl::OkStatus();
  }
  const std::optional<kernel::Degeneracy> found = kernel::FindDegeneracy(
      sums, normalization.eps, RunningDdof(normalization));
  if (!found) return absl::OkStatus();
  const std::string channel = std::to_string(found->channel);
  const bool few = found->kind == kernel::Degeneracy::Kind::kTooFewValues;
  return session::MakeError(
      absl::StatusCode::kInvalidArgument,
      few ? "expected at least 2 values in each channel, as running_ddof is 1; "
            "channel " +
                channel + " has 1"
          : "expected values that differ, as eps is 0; channel " + channel +
                " has a variance of 0",
      {.reason = few ? "TOO_FEW_VALUES" : "ZERO_VARIANCE",
       .field = "x",
       .metadata = {{"channel", channel}},
       .retry_after = std::nullopt});
}

std::string Normalize(const Inputs& inputs, const Statistics& statistics) {
  std::string y(inputs.x().bytes.size(), '\0');
  kernel::ApplyForward(
      inputs.layout, 0, inputs.x(), statistics, inputs.gamma, inputs.beta,
      {inputs.x().dtype, std::as_writable_bytes(std::span(y))});
  return y;
}

std::string Backpropagate(const Inputs& inputs, const Statistics& statistics,
                          const Gradients& gradients) {
  std::string dx(inputs.x().bytes.size(), '\0');
  kernel::ApplyBackward(
      inputs.layout, 0, inputs.x(), inputs.call.dy->view(), statistics,
      gradients, inputs.gamma,
      {inputs.x().dtype, std::as_writable_bytes(std::span(dx))});
  return dx;
}

session::RunningStatistics Update(const Inputs& inputs,
                                  const ForwardSums& sums) {
  const session::Normalization& normalization = inputs.normalization();
  session::RunningStatistics running = inputs.running;
  kernel::UpdateRunning(sums,
                        {.new_weight = normalization.new_weight,
                         .running_ddof = RunningDdof(normalization)},
                        ToKernel(normalization.degenerate_policy), running.mean,
                        running.var, running.batch_count);
  return running;
}

BackwardSums SumGradients(const Inputs& inputs) {
  const kernel::TensorView dy = inputs.call.dy->view();
  BackwardSums sums(inputs.layout.channels(), inputs.x().dtype, dy.dtype);
  sums.Add(inputs.layout, 0, inputs.x(), dy);
  return sums;
}

// What needs only finished numbers, the same in both modes.
EvaluationResult Apply(const Inputs& inputs, const Statistics& statistics,
                       const std::optional<Gradients>& gradients) {
  const EvaluationOutputs& outputs = inputs.call.outputs;
  EvaluationResult result;
  result.dtype = inputs.x().dtype;
  result.shape = inputs.call.x.shape;
  if (outputs.statistics) result.statistics = statistics;
  if (outputs.dgamma) result.dgamma = gradients->dgamma;
  if (outputs.dbeta) result.dbeta = gradients->dbeta;
  if (outputs.y) result.y = Normalize(inputs, statistics);
  if (outputs.dx) result.dx = Backpropagate(inputs, statistics, *gradients);
  return result;
}

absl::StatusOr<EvaluationResult> Train(const Inputs& inputs) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      ToKernel(inputs.normalization().degenerate_policy);
  ForwardSums sums(inputs.layout.channels(), inputs.x().dtype);
  sums.Add(inputs.layout, 0, inputs.x());
  if (absl::Status status = CheckDegeneracy(inputs, sums); !status.ok()) {
    return status;
  }
  const Statistics statistics = kernel::FinishForward(sums, eps, degenerate);
  std::optional<Gradients> gradients;
  if (inputs.call.outputs.gradients()) {
    gradients =
        kernel::FinishBackward(sums, SumGradients(inputs), eps, degenerate);
  }
  EvaluationResult result = Apply(inputs, statistics, gradients);
  if (inputs.call.outputs.running_statistics) {
    result.running = Update(inputs, sums);
  }
  return result;
}

EvaluationResult Infer(const Inputs& inputs) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      ToKernel(inputs.normalization().degenerate_policy);
  const Statistics statistics = kernel::FromRunning(
      inputs.running.mean, inputs.running.var, eps, degenerate);
  std::optional<Gradients> gradients;
  if (inputs.call.outputs.gradients()) {
    gradients = kernel::FinishInferenceBackward(SumGradients(inputs),
                                                statistics, eps, degenerate);
  }
  return Apply(inputs, statistics, gradients);
}

}  // namespace

absl::StatusOr<EvaluationResult> Evaluate(const EvaluationCall& call,
                                          const session::TensorLimits& limits) {
  const absl::StatusOr<Inputs> inputs = Read(call, limits);
  if (!inputs.ok()) return inputs.status();
  if (call.mode == Mode::kTrain) return Train(*inputs);
  return Infer(*inputs);
}

}  // namespace batchnorm::rpc
