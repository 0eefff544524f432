// An Evaluate call whose inputs have been checked and read. Pure, thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_EVALUATION_INPUTS_H_
#define BATCHNORMD_SERVER_RPC_EVALUATION_INPUTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "server/kernel/channel_layout.h"
#include "server/kernel/tensor_view.h"
#include "server/rpc/evaluation.h"
#include "server/session/session.h"

namespace batchnorm::rpc {

struct EvaluationInputs {
  const EvaluationCall& call;
  kernel::ChannelLayout layout;
  std::vector<double> gamma;           // empty: ones
  std::vector<double> beta;            // empty: zeros
  session::RunningStatistics running;  // before the batch

  const session::Normalization& normalization() const {
    return call.normalization;
  }
  kernel::TensorView x() const { return call.x.view(); }
  // No bytes where the call has no dy.
  kernel::TensorView dy() const {
    return call.dy ? call.dy->view()
                   : kernel::TensorView{kernel::Dtype::kF64, {}};
  }
};

// Every error of Evaluate that does not depend on the values in x and dy.
// The result refers to `call`.
absl::StatusOr<EvaluationInputs> ReadInputs(
    const EvaluationCall& call, const session::TensorLimits& limits);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_EVALUATION_INPUTS_H_
