#include "server/rpc/evaluation.h"

#include <span>
#include <utility>

#include "server/kernel/channel_sums.h"
#include "server/rpc/evaluation_inputs.h"
#include "server/session/policy.h"

namespace batchnorm::rpc {
namespace {

using kernel::BackwardSums;
using kernel::ForwardSums;
using kernel::Gradients;
using kernel::Statistics;

std::string Normalize(const EvaluationInputs& inputs,
                      const Statistics& statistics) {
  std::string y(inputs.x().bytes.size(), '\0');
  kernel::ApplyForward(
      inputs.layout, 0, inputs.x(), statistics, inputs.gamma, inputs.beta,
      {inputs.x().dtype, std::as_writable_bytes(std::span(y))});
  return y;
}

std::string Backpropagate(const EvaluationInputs& inputs,
                          const Statistics& statistics,
                          const Gradients& gradients) {
  std::string dx(inputs.x().bytes.size(), '\0');
  kernel::ApplyBackward(
      inputs.layout, 0, inputs.x(), inputs.dy(), statistics, gradients,
      inputs.gamma, {inputs.x().dtype, std::as_writable_bytes(std::span(dx))});
  return dx;
}

session::RunningStatistics Update(const EvaluationInputs& inputs,
                                  const ForwardSums& sums) {
  const session::Normalization& normalization = inputs.normalization();
  session::RunningStatistics running = inputs.running;
  kernel::UpdateRunning(
      sums,
      {.new_weight = normalization.new_weight,
       .running_ddof = static_cast<int>(normalization.running_ddof)},
      session::ToKernel(normalization.degenerate_policy), running.mean,
      running.var, running.batch_count);
  return running;
}

BackwardSums SumGradients(const EvaluationInputs& inputs) {
  BackwardSums sums(inputs.layout.channels(), inputs.x().dtype,
                    inputs.dy().dtype);
  sums.Add(inputs.layout, 0, inputs.x(), inputs.dy());
  return sums;
}

// What needs only finished numbers, the same in both modes. The gradients are
// read only where outputs ask for them.
EvaluationResult Apply(const EvaluationInputs& inputs,
                       const Statistics& statistics,
                       const Gradients& gradients) {
  const EvaluationOutputs& outputs = inputs.call.outputs;
  EvaluationResult result;
  result.dtype = inputs.x().dtype;
  result.shape = inputs.call.x.shape;
  if (outputs.statistics) result.statistics = statistics;
  if (outputs.dgamma) result.dgamma = gradients.dgamma;
  if (outputs.dbeta) result.dbeta = gradients.dbeta;
  if (outputs.y) result.y = Normalize(inputs, statistics);
  if (outputs.dx) result.dx = Backpropagate(inputs, statistics, gradients);
  return result;
}

absl::StatusOr<EvaluationResult> Train(const EvaluationInputs& inputs) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      session::ToKernel(inputs.normalization().degenerate_policy);
  ForwardSums sums(inputs.layout.channels(), inputs.x().dtype);
  sums.Add(inputs.layout, 0, inputs.x());
  if (absl::Status status =
          session::RefuseDegenerate(sums, inputs.normalization());
      !status.ok()) {
    return status;
  }
  const Statistics statistics = kernel::FinishForward(sums, eps, degenerate);
  Gradients gradients;
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

EvaluationResult Infer(const EvaluationInputs& inputs) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      session::ToKernel(inputs.normalization().degenerate_policy);
  const Statistics statistics = kernel::FromRunning(
      inputs.running.mean, inputs.running.var, eps, degenerate);
  Gradients gradients;
  if (inputs.call.outputs.gradients()) {
    gradients = kernel::FinishInferenceBackward(SumGradients(inputs),
                                                statistics, eps, degenerate);
  }
  return Apply(inputs, statistics, gradients);
}

}  // namespace

absl::StatusOr<EvaluationResult> Evaluate(const EvaluationCall& call,
                                          const session::TensorLimits& limits) {
  const absl::StatusOr<EvaluationInputs> inputs = ReadInputs(call, limits);
  if (!inputs.ok()) return inputs.status();
  if (call.mode == session::Mode::kTrain) return Train(*inputs);
  return Infer(*inputs);
}

}  // namespace batchnorm::rpc
