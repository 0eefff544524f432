#include "server/rpc/evaluation_inputs.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/policy.h"
#include "server/session/text.h"

namespace batchnorm::rpc {
namespace {

using kernel::ChannelLayout;
using session::InvalidField;

// A reply's vectors a channel, and its shapes and field headers.
constexpr std::int64_t kReplyBytesPerChannel = 8 * sizeof(double);
constexpr std::int64_t kReplyFramingBytes = 1024;

// Reads the per-channel inputs of one call.
class ChannelReader {
 public:
  ChannelReader(std::int64_t channels, std::int64_t max_bytes)
      : channels_(channels), max_bytes_(max_bytes) {}

  std::int64_t channels() const { return channels_; }

  absl::StatusOr<std::vector<double>> Read(const session::Tensor& tensor,
                                           std::string_view field) const {
    absl::Status form = session::CheckTensor(tensor, field, max_bytes_);
    if (!form.ok()) return form;
    return session::ChannelVector(&tensor, channels_, field);
  }

  // Empty where the call does not hold the tensor.
  absl::StatusOr<std::vector<double>> Read(
      const std::optional<session::Tensor>& tensor,
      std::string_view field) const {
    return tensor ? Read(*tensor, field) : std::vector<double>();
  }

 private:
  std::int64_t channels_;
  std::int64_t max_bytes_;
};

absl::Status CheckDy(const EvaluationCall& call, std::int64_t max_bytes) {
  if (!call.dy) return absl::OkStatus();
  absl::Status status = session::CheckTensor(*call.dy, "dy", max_bytes);
  if (!status.ok() || call.dy->shape == call.x.shape) return status;
  return InvalidField(
      "dy.shape", "BAD_TENSOR",
      absl::StrCat("expected the shape of x, ", session::Text(call.x.shape),
                   ", got ", session::Text(call.dy->shape)));
}

absl::Status CheckReplySize(const EvaluationCall& call, std::int64_t channels,
                            std::int64_t limit) {
  const auto x_bytes = static_cast<std::int64_t>(call.x.view().bytes.size());
  const int tensors = int{call.outputs.y} + int{call.outputs.dx};
  const std::int64_t bytes =
      tensors * x_bytes + channels * kReplyBytesPerChannel + kReplyFramingBytes;
  if (bytes <= limit) return absl::OkStatus();
  return session::MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("outputs: expected a reply of at most ", limit,
                   " bytes, got one of ", bytes, "; ask for fewer at once"),
      {.reason = "TOO_LARGE_FOR_UNARY",
       .field = "outputs",
       .metadata = {{"max_reply_bytes", absl::StrCat(limit)}}});
}

absl::StatusOr<ChannelLayout> CheckTensors(
    const EvaluationCall& call, const session::TensorLimits& limits) {
  absl::Status status =
      session::CheckTensor(call.x, "x", limits.max_tensor_bytes);
  if (status.ok()) status = CheckDy(call, limits.max_tensor_bytes);
  if (!status.ok()) return status;
  absl::StatusOr<ChannelLayout> layout =
      session::MakeLayout(call.x, call.normalization.channel_axes);
  if (!layout.ok()) return layout;
  status = CheckReplySize(call, layout->channels(), limits.max_reply_bytes);
  if (!status.ok()) return status;
  return layout;
}

absl::Status CheckBatchCount(std::int64_t batch_count) {
  if (batch_count >= 0) return absl::OkStatus();
  return InvalidField("running_statistics.batch_count", "BAD_CONFIG",
                      absl::StrCat("expected at least 0, got ", batch_count));
}

// NaN passes, as in x.
absl::Status CheckRunningVar(const std::vector<double>& var) {
  const auto bad = std::find_if(var.begin(), var.end(),
                                [](double value) { return value < 0; });
  if (bad == var.end()) return absl::OkStatus();
  return InvalidField(
      "running_statistics.var", "BAD_TENSOR",
      absl::StrCat("expected variances of at least 0, got ",
                   session::Text(*bad), " in channel ", bad - var.begin()));
}

// What INFERENCE normalizes with; TRAIN computes with any numbers.
absl::Status CheckRunning(const EvaluationCall& call,
                          const session::RunningStatistics& running) {
  absl::Status status = CheckBatchCount(running.batch_count);
  if (!status.ok() || call.mode == session::Mode::kTrain) return status;
  status = CheckRunningVar(running.var);
  if (!status.ok()) return status;
  return session::RefuseRunning(running.var, call.normalization);
}

session::RunningStatistics InitialRunning(std::int64_t channels) {
  const auto size = static_cast<std::size_t>(channels);
  return {.mean = std::vector<double>(size, 0.0),
          .var = std::vector<double>(size, 1.0),
          .batch_count = 0};
}

absl::StatusOr<session::RunningStatistics> ReadRunning(
    const EvaluationCall& call, const ChannelReader& reader) {
  if (!call.running) return InitialRunning(reader.channels());
  absl::StatusOr<std::vector<double>> mean =
      reader.Read(call.running->mean, "running_statistics.mean");
  if (!mean.ok()) return mean.status();
  absl::StatusOr<std::vector<double>> var =
      reader.Read(call.running->var, "running_statistics.var");
  if (!var.ok()) return var.status();
  session::RunningStatistics running{.mean = *std::move(mean),
                                     .var = *std::move(var),
                                     .batch_count = call.running->batch_count};
  if (absl::Status valid = CheckRunning(call, running); !valid.ok()) {
    return valid;
  }
  return running;
}

}  // namespace

absl::StatusOr<EvaluationInputs> ReadInputs(
    const EvaluationCall& call, const session::TensorLimits& limits) {
  const absl::StatusOr<ChannelLayout> layout = CheckTensors(call, limits);
  if (!layout.ok()) return layout.status();
  const ChannelReader reader(layout->channels(), limits.max_tensor_bytes);
  absl::StatusOr<std::vector<double>> gamma = reader.Read(call.gamma, "gamma");
  if (!gamma.ok()) return gamma.status();
  absl::StatusOr<std::vector<double>> beta = reader.Read(call.beta, "beta");
  if (!beta.ok()) return beta.status();
  absl::StatusOr<session::RunningStatistics> running =
      ReadRunning(call, reader);
  if (!running.ok()) return running.status();
  return EvaluationInputs{.call = call,
                          .layout = *layout,
                          .gamma = *std::move(gamma),
                          .beta = *std::move(beta),
                          .running = *std::move(running)};
}

}  // namespace batchnorm::rpc
