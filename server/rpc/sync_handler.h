// Sync: sums in, finished numbers out.
#ifndef BATCHNORMD_SERVER_RPC_SYNC_HANDLER_H_
#define BATCHNORMD_SERVER_RPC_SYNC_HANDLER_H_

#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/rpc/unary_call.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

void Sync(session::Registry& registry, v1::SyncRequest request,
          const Responder<v1::SyncResponse>& respond);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_SYNC_HANDLER_H_
