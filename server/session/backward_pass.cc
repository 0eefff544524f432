#include "server/session/backward_pass.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "server/kernel/train.h"
#include "server/session/call_checks.h"
#include "server/session/policy.h"

namespace batchnorm::session {

absl::StatusOr<KeptInput> SumResentInput(const Tensor& x,
                                         const std::optional<Tensor>& gamma,
                                         const SessionConfig& config,
                                         const TensorLimits& limits,
                                         kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  absl::StatusOr<CheckedInput> input = CheckInput(x, gamma, config, limits);
  if (!input.ok()) return input.status();
  kernel::ForwardSums sums(config.channels, x.dtype);
  sums.Add(input->layout, 0, x.view(), workers);
  const Normalization& constants = config.normalization;
  absl::Status refused = RefuseDegenerate(sums, constants);
  if (!refused.ok()) return refused;
  kernel::Statistics statistics = FinishForward(
      sums, constants.eps, ToKernel(constants.degenerate_policy), workers);
  return KeptInput{
      x, std::move(input->layout), std::move(input->gamma),
      std::make_shared<const kernel::TrainBatch>(
          kernel::TrainBatch{std::move(sums), std::move(statistics)})};
}

Digest DigestOf(std::uint32_t rank, const KeptInput& input) {
  return InputDigest(rank, input.x.dtype, input.x.shape, input.gamma,
                     input.batch->sums.Serialize());
}

absl::StatusOr<BackwardResult> Differentiate(const KeptInput& input,
                                             const BackwardCall& call,
                                             const SessionConfig& config,
                                             const TensorLimits& limits,
                                             kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  absl::Status status = CheckGradientShape(call.dy, input.x);
  if (status.ok()) {
    status = CheckBackwardReply(input.x, config.channels, limits);
  }
  if (!status.ok()) return status;

  const Normalization& constants = config.normalization;
  std::string dx(input.x.view().bytes.size(), '\0');
  kernel::Gradients gradients = TrainBackward(
      input.layout, input.x.view(), call.dy.view(), *input.batch, constants.eps,
      ToKernel(constants.degenerate_policy), input.gamma,
      {input.x.dtype, std::as_writable_bytes(std::span(dx))}, workers);
  return BackwardResult{.step = call.step,
                        .dgamma = std::move(gradients.dgamma),
                        .dbeta = std::move(gradients.dbeta),
                        .dtype = input.x.dtype,
                        .shape = input.x.shape,
                        .dx = std::move(dx)};
}

}  // namespace batchnorm::session
