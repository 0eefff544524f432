// The RPC Forward: check -> call -> map. Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_FORWARD_HANDLER_H_
#define BATCHNORMD_SERVER_RPC_FORWARD_HANDLER_H_

#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/rpc/unary_call.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

// A replayed step sets `replayed: true` in the trailing metadata.
void Forward(session::Registry& registry, v1::ForwardRequest request,
             const Responder<v1::ForwardResponse>& respond);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_FORWARD_HANDLER_H_
