#include "client/local_kernel.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/status_codec.h"
#include "proto/wire/tensor_values.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::client {
namespace {

absl::Status BadField(std::string_view reason, std::string_view field,
                      std::string_view text) {
  return Refusal(absl::StatusCode::kInvalidArgument, reason, field, text);
}

kernel::Dtype ToKernel(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return kernel::Dtype::kF16;
    case Dtype::kBF16:
      return kernel::Dtype::kBF16;
    case Dtype::kF32:
      return kernel::Dtype::kF32;
    case Dtype::kF64:
      break;
  }
  return kernel::Dtype::kF64;
}

kernel::TensorView ViewOf(const Tensor& tensor) {
  return {ToKernel(tensor.dtype), std::as_bytes(std::span(tensor.data))};
}

absl::Status CheckForm(const Tensor& tensor, std::string_view field) {
  if (!tensor.shape.empty() && IsComplete(tensor)) return absl::OkStatus();
  return BadField("BAD_TENSOR", field,
                  "expected a shape of at least one size, and as many bytes as "
                  "it has elements");
}

// Axes from the front, each once.
absl::StatusOr<std::vector<int>> AxesOf(const Tensor& x,
                                        const SessionConfig& config) {
  const int rank = static_cast<int>(x.shape.size());
  std::vector<int> axes;
  axes.reserve(config.normalization.channel_axes.size());
  for (const std::int32_t axis : config.normalization.channel_axes) {
    axes.push_back(axis < 0 ? axis + rank : axis);
  }
  std::ranges::sort(axes);
  const bool fit = axes.empty() || (axes.front() >= 0 && axes.back() < rank);
  if (fit && std::ranges::adjacent_find(axes) == axes.end()) return axes;
  return BadField("BAD_CHANNEL_AXES", "x.shape",
                  absl::StrCat("expected the session's channel axes, got ",
                               rank, " dimensions"));
}

Expansion ExpansionOf(kernel::SumLimbs limbs, std::int64_t channels) {
  const auto rows = static_cast<std::int64_t>(limbs.scales.size());
  Expansion expansion;
  expansion.limbs = MakeTensor(limbs.limbs, {rows, channels});
  const bool plain =
      std::ranges::all_of(limbs.scales, [](int scale) { return scale == 0; });
  if (!plain) expansion.scales = std::move(limbs.scales);
  return expansion;
}

// One number a channel, in all of them.
absl::Status CheckNumbers(
    std::initializer_list<std::pair<const char*, const std::vector<double>*>>
        vectors,
    std::int64_t channels) {
  for (const auto& [field, numbers] : vectors) {
    if (static_cast<std::int64_t>(numbers->size()) == channels) continue;
    return absl::InternalError(
        absl::StrCat("the server's ", field, " breaks the contract: expected ",
                     channels, " numbers, got ", numbers->size()));
  }
  return absl::OkStatus();
}

std::string Text(const std::vector<std::int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

Tensor Like(const Tensor& x) {
  return {.dtype = x.dtype,
          .shape = x.shape,
          .data = std::string(x.data.size(), '\0')};
}

// Whether y is (x - mean) * inv_std without further scaling; the kernel's rule
// (server/kernel/inverse_std.cc). 0, Inf and NaN are what they are.
bool IsInRange(double inv_std) {
  constexpr int kMaxExponent = 256;
  return !std::isfinite(inv_std) || inv_std == 0 ||
         std::abs(std::ilogb(inv_std)) <= kMaxExponent;
}

}  // namespace

absl::Status Refusal(absl::StatusCode code, std::string_view reason,
                     std::string_view field, std::string_view text) {
  const absl::Status status(
      code, absl::StrCat(std::string(field), ": ", std::string(text)));
  return wire::FromGrpcStatus(wire::ToGrpcStatus(
      status, wire::ErrorDetail{.reason = std::string(reason),
                                .field = std::string(field)}));
}

absl::StatusOr<std::vector<double>> ParameterOf(
    const std::optional<Tensor>& tensor, std::string_view field,
    std::int64_t channels) {
  if (!tensor.has_value()) return std::vector<double>();
  absl::Status form = CheckForm(*tensor, field);
  if (!form.ok()) return form;
  std::vector<double> values = ToDoubles(*tensor);
  if (static_cast<std::int64_t>(values.size()) == channels) return values;
  return BadField(
      "WRONG_CHANNELS", field,
      absl::StrCat("expected ", channels, " numbers, got ", values.size()));
}

absl::StatusOr<Shard> MakeShard(Tensor x, const std::optional<Tensor>& gamma,
                                const SessionConfig& config) {
  absl::Status form = CheckForm(x, "x");
  if (!form.ok()) return form;
  const absl::StatusOr<std::vector<int>> axes = AxesOf(x, config);
  if (!axes.ok()) return axes.status();
  kernel::ChannelLayout layout(x.shape, *axes);
  if (layout.channels() != config.channels) {
    return BadField("WRONG_CHANNELS", "x.shape",
                    absl::StrCat("expected ", config.channels,
                                 " channels, got ", layout.channels()));
  }
  auto scale = ParameterOf(gamma, "gamma", config.channels);
  if (!scale.ok()) return scale.status();
  return Shard{std::move(x), std::move(layout), *std::move(scale)};
}

ForwardSums SumForward(const Shard& shard) {
  const std::int64_t channels = shard.layout.channels();
  const kernel::TensorView x = ViewOf(shard.x);
  kernel::ForwardSums sums(channels, x.dtype);
  sums.Add(shard.layout, 0, x);
  return {.count = shard.layout.count(),
          .sum = ExpansionOf(LimbsOfSum(sums), channels),
          .sum_of_squares = ExpansionOf(LimbsOfSquares(sums), channels)};
}

absl::StatusOr<BackwardSums> SumBackward(const Shard& shard, const Tensor& dy) {
  absl::Status form = CheckForm(dy, "dy");
  if (!form.ok()) return form;
  if (dy.shape != shard.x.shape) {
    return BadField(
        "BAD_TENSOR", "dy.shape",
        absl::StrCat("expected the shape of x, ", Text(shard.x.shape), ", got ",
                     Text(dy.shape)));
  }
  const std::int64_t channels = shard.layout.channels();
  const kernel::TensorView x = ViewOf(shard.x);
  const kernel::TensorView gradient = ViewOf(dy);
  kernel::BackwardSums sums(channels, x.dtype, gradient.dtype);
  sums.Add(shard.layout, 0, x, gradient);
  return BackwardSums{.sum_dy = ExpansionOf(LimbsOfSumDy(sums), channels),
                      .sum_dy_x = ExpansionOf(LimbsOfSumDyX(sums), channels)};
}

absl::StatusOr<kernel::Statistics> StatisticsOf(
    const BatchStatistics& statistics, std::int64_t channels) {
  absl::Status complete =
      CheckNumbers({{"statistics.mean", &statistics.mean},
                    {"statistics.mean_lo", &statistics.mean_lo},
                    {"statistics.var", &statistics.var},
                    {"statistics.inv_std", &statistics.inv_std}},
                   channels);
  if (!complete.ok()) return complete;
  if (!std::ranges::all_of(statistics.inv_std, IsInRange)) {
    return Refusal(
        absl::StatusCode::kFailedPrecondition, "OUT_OF_RANGE_FOR_SYNC", "x",
        "expected an inv_std from 2^-256 to 2^256, got another; send "
        "the tensor itself");
  }
  return kernel::Statistics{
      .count = statistics.count,
      .mean = statistics.mean,
      .mean_lo = statistics.mean_lo,
      .var = statistics.var,
      .inv_std = statistics.inv_std,
      .scaled_inv_std = statistics.inv_std,
      .scaled_mean_lo = statistics.mean_lo,
      .scale = std::vector<std::int32_t>(statistics.mean.size())};
}

absl::StatusOr<kernel::Gradients> GradientsOf(GradientStatistics gradients,
                                              std::int64_t channels) {
  absl::Status complete =
      CheckNumbers({{"gradients.dgamma", &gradients.dgamma},
                    {"gradients.dbeta", &gradients.dbeta},
                    {"gradients.mean_dy", &gradients.mean_dy},
                    {"gradients.mean_dy_lo", &gradients.mean_dy_lo},
                    {"gradients.k", &gradients.k}},
                   channels);
  if (!complete.ok()) return complete;
  return kernel::Gradients{.dgamma = std::move(gradients.dgamma),
                           .dbeta = std::move(gradients.dbeta),
                           .mean_dy = std::move(gradients.mean_dy),
                           .mean_dy_lo = std::move(gradients.mean_dy_lo),
                           .k = std::move(gradients.k)};
}

Tensor Normalize(const Shard& shard, const kernel::Statistics& statistics,
                 const std::vector<double>& beta) {
  Tensor y = Like(shard.x);
  ApplyForward(shard.layout, 0, ViewOf(shard.x), statistics, shard.gamma, beta,
               {ToKernel(y.dtype), std::as_writable_bytes(std::span(y.data))});
  return y;
}

Tensor Differentiate(const Shard& shard, const Tensor& dy,
                     const kernel::Statistics& statistics,
                     const kernel::Gradients& gradients) {
  Tensor dx = Like(shard.x);
  ApplyBackward(
      shard.layout, 0, ViewOf(shard.x), ViewOf(dy), statistics, gradients,
      shard.gamma,
      {ToKernel(dx.dtype), std::as_writable_bytes(std::span(dx.data))});
  return dx;
}

}  // namespace batchnorm::client
