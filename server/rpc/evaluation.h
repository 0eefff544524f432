// The layer without a session: all inputs in, the asked results out, nothing
// remembered. Pure, thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_EVALUATION_H_
#define BATCHNORMD_SERVER_RPC_EVALUATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/kernel/batch_norm.h"
#include "server/session/config.h"
#include "server/session/session.h"
#include "server/session/tensor.h"

namespace batchnorm::rpc {

// Which results are asked for.
struct EvaluationOutputs {
  bool y = false;
  bool statistics = false;
  bool running_statistics = false;
  bool dx = false;
  bool dgamma = false;
  bool dbeta = false;

  bool gradients() const { return dx || dgamma || dbeta; }
};

struct RunningTensors {
  session::Tensor mean;
  session::Tensor var;
  std::int64_t batch_count = 0;
};

struct EvaluationCall {
  session::Mode mode = session::Mode::kTrain;
  EvaluationOutputs outputs;
  session::Normalization normalization;
  std::optional<RunningTensors> running;
  std::optional<session::Tensor> gamma;
  std::optional<session::Tensor> beta;
  std::optional<session::Tensor> dy;
  session::Tensor x;
};

// Only what was asked for. y and dx have x's dtype and shape.
struct EvaluationResult {
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::optional<kernel::Statistics> statistics;
  std::optional<session::RunningStatistics> running;
  std::optional<std::vector<double>> dgamma;
  std::optional<std::vector<double>> dbeta;
  std::optional<std::string> dx;
  std::optional<std::string> y;
};

// Errors are those of the RPC Evaluate.
// REQUIRES: outputs need no input that is absent: dy for gradients, running
// for INFERENCE. The normalization is valid.
absl::StatusOr<EvaluationResult> Evaluate(const EvaluationCall& call,
                                          const session::TensorLimits& limits,
                                          kernel::Workers& workers);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_EVALUATION_H_
