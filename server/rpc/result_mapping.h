// What sessions and Evaluate return, as replies of the contract. Functions are
// pure and thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_RESULT_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_RESULT_MAPPING_H_

#include "batchnorm/v1/batch_norm_service.pb.h"
#include "batchnorm/v1/group.pb.h"
#include "batchnorm/v1/normalization.pb.h"
#include "batchnorm/v1/session.pb.h"
#include "server/kernel/batch_norm.h"
#include "server/rpc/evaluation.h"
#include "server/session/registry.h"
#include "server/session/session.h"

namespace batchnorm::rpc {

v1::BatchStatistics ToProto(const kernel::Statistics& statistics);
v1::GradientStatistics ToProto(const kernel::Statistics& statistics,
                               const kernel::Gradients& gradients);
v1::RunningStatistics ToProto(const session::RunningStatistics& running);
v1::Session ToProto(const session::Snapshot& snapshot);
v1::ListSessionsResponse ToProto(const session::SessionPage& page);
v1::ForwardResponse ToProto(session::ForwardResult result);
v1::BackwardResponse ToProto(session::BackwardResult result);
v1::SyncResponse ToProto(const session::SyncResult& result);
v1::EvaluateResponse ToProto(EvaluationResult result);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_RESULT_MAPPING_H_
