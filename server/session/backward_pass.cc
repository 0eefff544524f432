#include "server/session/backward_pass.h"

#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "server/kernel/batch_norm.h"
#include "server/session/call_checks.h"
#include "server/session/policy.h"

namespace batchnorm::session {

namespace {

kernel::ForwardSums ParseSums(const KeptInput& input) {
  std::optional<kernel::ForwardSums> sums =
      kernel::ForwardSums::Parse(input.sums);
  if (!sums.has_value()) std::abort();  // Parse reads what Serialize wrote
  return *std::move(sums);
}

kernel::BackwardSums SumGradient(const KeptInput& input, const Tensor& dy) {
  kernel::BackwardSums sums(input.layout.channels(), input.x.dtype, dy.dtype);
  sums.Add(input.layout, 0, input.x.view(), dy.view());
  return sums;
}

std::string ApplyGradients(const KeptInput& input, const Tensor& dy,
                           const kernel::Statistics& statistics,
                           const kernel::Gradients& gradients) {
  std::string dx(input.x.view().bytes.size(), '\0');
  ApplyBackward(input.layout, 0, input.x.view(), dy.view(), statistics,
                gradients, input.gamma,
                {input.x.dtype, std::as_writable_bytes(std::span(dx))});
  return dx;
}

}  // namespace

absl::StatusOr<KeptInput> SumResentInput(const Tensor& x,
                                         const std::optional<Tensor>& gamma,
                                         const SessionConfig& config,
                                         const TensorLimits& limits) {
  absl::StatusOr<CheckedInput> input = CheckInput(x, gamma, config, limits);
  if (!input.ok()) return input.status();
  kernel::ForwardSums sums(config.channels, x.dtype);
  sums.Add(input->layout, 0, x.view());
  absl::Status refused = RefuseDegenerate(sums, config.normalization);
  if (!refused.ok()) return refused;
  return KeptInput{x, std::move(input->layout), std::move(input->gamma),
                   sums.Serialize()};
}

Digest DigestOf(std::uint32_t rank, const KeptInput& input) {
  return InputDigest(rank, input.x.dtype, input.x.shape, input.gamma,
                     input.sums);
}

absl::StatusOr<BackwardResult> Differentiate(const KeptInput& input,
                                             const BackwardCall& call,
                                             const SessionConfig& config,
                                             const TensorLimits& limits) {
  absl::Status status = CheckGradientShape(call.dy, input.x);
  if (status.ok()) {
    status = CheckBackwardReply(input.x, config.channels, limits);
  }
  if (!status.ok()) return status;

  const double eps = config.normalization.eps;
  const auto degenerate = ToKernel(config.normalization.degenerate_policy);
  const kernel::ForwardSums sums = ParseSums(input);
  const kernel::Statistics statistics = FinishForward(sums, eps, degenerate);
  kernel::Gradients gradients =
      FinishBackward(sums, SumGradient(input, call.dy), eps, degenerate);
  std::string dx = ApplyGradients(input, call.dy, statistics, gradients);
  return BackwardResult{.step = call.step,
                        .dgamma = std::move(gradients.dgamma),
                        .dbeta = std::move(gradients.dbeta),
                        .dtype = input.x.dtype,
                        .shape = input.x.shape,
                        .dx = std::move(dx)};
}

}  // namespace batchnorm::session
