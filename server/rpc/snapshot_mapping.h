// Snapshots between the contract and the sessions. Functions are pure and
// thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_SNAPSHOT_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_SNAPSHOT_MAPPING_H_

#include "absl/status/statusor.h"
#include "batchnorm/v1/session.pb.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

// INVALID_ARGUMENT `BAD_SNAPSHOT` where something is missing, else as the
// mappings of configurations and tensors. Sizes are taken as they are.
absl::StatusOr<session::ExportedSession> Take(v1::SessionSnapshot snapshot);

v1::SessionSnapshot ToProto(const session::ExportedSession& exported);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_SNAPSHOT_MAPPING_H_
