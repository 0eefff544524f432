// The RPC Evaluate: check -> call -> map. Pure, thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_EVALUATE_HANDLER_H_
#define BATCHNORMD_SERVER_RPC_EVALUATE_HANDLER_H_

#include "absl/status/statusor.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/kernel/workers.h"
#include "server/session/session.h"

namespace batchnorm::rpc {

absl::StatusOr<v1::EvaluateResponse> Evaluate(
    const session::TensorLimits& limits, kernel::Workers& workers,
    v1::EvaluateRequest request);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_EVALUATE_HANDLER_H_
