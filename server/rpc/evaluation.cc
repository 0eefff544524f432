#include "server/rpc/evaluation.h"

#include <span>
#include <utility>

#include "server/kernel/channel_sums.h"
#include "server/kernel/train.h"
#include "server/rpc/evaluation_inputs.h"
#include "server/session/policy.h"

namespace batchnorm::rpc {
namespace {

using kernel::BackwardSums;
using kernel::ForwardSums;
using kernel::Gradients;
using kernel::Statistics;

std::string RoomForResults(const EvaluationInputs& inputs) {
  return std::string(inputs.x().bytes.size(), '\0');
}

kernel::MutableTensorView ViewOf(const EvaluationInputs& inputs,
                                 std::string& results) {
  return {inputs.x().dtype, std::as_writable_bytes(std::span(results))};
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

BackwardSums SumGradients(const EvaluationInputs& inputs,
                          kernel::Workers& workers) {
  BackwardSums sums(inputs.layout.channels(), inputs.x().dtype,
                    inputs.dy().dtype);
  sums.Add(inputs.layout, 0, inputs.x(), inputs.dy(), workers);
  return sums;
}

// Sums and statistics of the batch, and y if it is asked for.
kernel::TrainBatch NormalizeBatch(const EvaluationInputs& inputs,
                                  kernel::Workers& workers,
                                  EvaluationResult& result) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      session::ToKernel(inputs.normalization().degenerate_policy);
  if (inputs.call.outputs.y) {
    std::string& y = result.y.emplace(RoomForResults(inputs));
    return kernel::TrainForward(inputs.layout, inputs.x(), eps, degenerate,
                                inputs.gamma, inputs.beta, ViewOf(inputs, y),
                                workers);
  }
  ForwardSums sums(inputs.layout.channels(), inputs.x().dtype);
  sums.Add(inputs.layout, 0, inputs.x(), workers);
  Statistics statistics = kernel::FinishForward(sums, eps, degenerate, workers);
  return {std::move(sums), std::move(statistics)};
}

// The gradients of the batch, and dx if it is asked for.
Gradients DifferentiateBatch(const EvaluationInputs& inputs,
                             const kernel::TrainBatch& batch,
                             kernel::Workers& workers,
                             EvaluationResult& result) {
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      session::ToKernel(inputs.normalization().degenerate_policy);
  if (inputs.call.outputs.dx) {
    std::string& dx = result.dx.emplace(RoomForResults(inputs));
    return kernel::TrainBackward(inputs.layout, inputs.x(), inputs.dy(), batch,
                                 eps, degenerate, inputs.gamma,
                                 ViewOf(inputs, dx), workers);
  }
  return kernel::FinishBackward(batch.sums, SumGradients(inputs, workers), eps,
                                degenerate, workers);
}

// Per channel: what was asked for of it.
void Report(const EvaluationInputs& inputs, const Statistics& statistics,
            const Gradients& gradients, EvaluationResult& result) {
  const EvaluationOutputs& outputs = inputs.call.outputs;
  result.dtype = inputs.x().dtype;
  result.shape = inputs.call.x.shape;
  if (outputs.statistics) result.statistics = statistics;
  if (outputs.dgamma) result.dgamma = gradients.dgamma;
  if (outputs.dbeta) result.dbeta = gradients.dbeta;
}

absl::StatusOr<EvaluationResult> Train(const EvaluationInputs& inputs,
                                       kernel::Workers& workers) {
  EvaluationResult result;
  const kernel::TrainBatch batch = NormalizeBatch(inputs, workers, result);
  if (absl::Status status =
          session::RefuseDegenerate(batch.sums, inputs.normalization());
      !status.ok()) {
    return status;
  }
  Gradients gradients;
  if (inputs.call.outputs.gradients()) {
    gradients = DifferentiateBatch(inputs, batch, workers, result);
  }
  Report(inputs, batch.statistics, gradients, result);
  if (inputs.call.outputs.running_statistics) {
    result.running = Update(inputs, batch.sums);
  }
  return result;
}

EvaluationResult Infer(const EvaluationInputs& inputs,
                       kernel::Workers& workers) {
  const EvaluationOutputs& outputs = inputs.call.outputs;
  const double eps = inputs.normalization().eps;
  const kernel::Degenerate degenerate =
      session::ToKernel(inputs.normalization().degenerate_policy);
  const Statistics statistics = kernel::FromRunning(
      inputs.running.mean, inputs.running.var, eps, degenerate);
  EvaluationResult result;
  Gradients gradients;
  if (outputs.gradients()) {
    gradients = kernel::FinishInferenceBackward(SumGradients(inputs, workers),
                                                statistics, eps, degenerate);
  }
  Report(inputs, statistics, gradients, result);
  if (outputs.y) {
    std::string& y = result.y.emplace(RoomForResults(inputs));
    kernel::ApplyForward(inputs.layout, 0, inputs.x(), statistics, inputs.gamma,
                         inputs.beta, ViewOf(inputs, y), workers);
  }
  if (outputs.dx) {
    std::string& dx = result.dx.emplace(RoomForResults(inputs));
    kernel::ApplyBackward(inputs.layout, 0, inputs.x(), inputs.dy(), statistics,
                          gradients, inputs.gamma, ViewOf(inputs, dx), workers);
  }
  return result;
}

}  // namespace

absl::StatusOr<EvaluationResult> Evaluate(const EvaluationCall& call,
                                          const session::TensorLimits& limits,
                                          kernel::Workers& workers) {
  const absl::StatusOr<EvaluationInputs> inputs = ReadInputs(call, limits);
  if (!inputs.ok()) return inputs.status();
  const kernel::Workers::Timer timer(workers);
  if (call.mode == session::Mode::kTrain) return Train(*inputs, workers);
  return Infer(*inputs, workers);
}

}  // namespace batchnorm::rpc
