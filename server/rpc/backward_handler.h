// The RPC Backward: check -> call -> map. Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_BACKWARD_HANDLER_H_
#define BATCHNORMD_SERVER_RPC_BACKWARD_HANDLER_H_

#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/rpc/unary_call.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

void Backward(session::Registry& registry, v1::BackwardRequest request,
              const Responder<v1::BackwardResponse>& respond);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_BACKWARD_HANDLER_H_
