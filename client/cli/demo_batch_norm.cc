#include "client/cli/demo_batch_norm.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace batchnorm::cli {
namespace {

Tensor ToTensor(const Matrix& x) {
  return MakeTensor(std::span<const float>(x.values),
                    {static_cast<std::int64_t>(x.rows),
                     static_cast<std::int64_t>(x.columns)});
}

Tensor ToTensor(const std::vector<float>& values) {
  return MakeTensor(std::span<const float>(values),
                    {static_cast<std::int64_t>(values.size())});
}

// A reply's tensor, which has the shape of what was sent.
absl::StatusOr<Matrix> ToMatrix(const Tensor& tensor, const Matrix& sent) {
  const std::span<const float> values = FloatsOf(tensor);
  if (values.size() != sent.values.size()) {
    return absl::InternalError(absl::StrCat("expected ", sent.values.size(),
                                            " f32 values back, got ",
                                            values.size()));
  }
  Matrix matrix(sent.rows, sent.columns);
  std::copy(values.begin(), values.end(), matrix.values.begin());
  return matrix;
}

absl::Status SetGradient(const std::vector<double>& gradient, Parameter& p) {
  if (gradient.size() != p.gradient.size()) {
    return absl::InternalError(
        absl::StrCat("expected a gradient of ", p.gradient.size(),
                     " channels, got ", gradient.size()));
  }
  std::transform(gradient.begin(), gradient.end(), p.gradient.begin(),
                 [](double g) { return static_cast<float>(g); });
  return absl::OkStatus();
}

CallCounts ToCallCounts(const client::SessionCounters& counters) {
  return {.forwards = counters.forward_count,
          .inferences = counters.inference_count,
          .backwards = counters.backward_count,
          .replays = counters.replay_count};
}

}  // namespace

DemoBatchNorm::DemoBatchNorm(client::Layer layer, std::size_t channels)
    : layer_(std::move(layer)), gamma_(channels, 1), beta_(channels, 0) {}

absl::StatusOr<DemoBatchNorm> DemoBatchNorm::Open(const client::Client& client,
                                                  const std::string& name,
                                                  std::size_t channels) {
  client::SessionConfig config;
  config.channels = static_cast<std::int64_t>(channels);
  auto layer = client.OpenLayer(name, config);
  if (!layer.ok()) return layer.status();
  return DemoBatchNorm(*std::move(layer), channels);
}

client::LayerInput DemoBatchNorm::Input(const Matrix& x) const {
  return {.x = ToTensor(x),
          .gamma = ToTensor(gamma_.value),
          .beta = ToTensor(beta_.value)};
}

absl::StatusOr<Matrix> DemoBatchNorm::Forward(const Matrix& x) {
  const auto result = layer_.Forward(Input(x));
  if (!result.ok()) return result.status();
  ++sent_.forwards;
  return ToMatrix(result->y, x);
}

absl::StatusOr<Matrix> DemoBatchNorm::Backward(const Matrix& dy) {
  const auto result =
      layer_.Backward({.step = layer_.last_step(), .dy = ToTensor(dy)});
  if (!result.ok()) return result.status();
  ++sent_.backwards;
  if (auto set = SetGradient(result->dgamma, gamma_); !set.ok()) return set;
  if (auto set = SetGradient(result->dbeta, beta_); !set.ok()) return set;
  return ToMatrix(result->dx, dy);
}

absl::StatusOr<Matrix> DemoBatchNorm::Infer(const Matrix& x) {
  const auto result = layer_.Infer(Input(x));
  if (!result.ok()) return result.status();
  ++sent_.inferences;
  return ToMatrix(result->y, x);
}

absl::StatusOr<DemoLayerReport> DemoBatchNorm::Report() const {
  const auto session = layer_.GetSession();
  if (!session.ok()) return session.status();
  return DemoLayerReport{.name = session->name,
                         .sent = sent_,
                         .received = ToCallCounts(session->counters),
                         .running = session->running_statistics.value_or(
                             client::RunningStatistics())};
}

}  // namespace batchnorm::cli
