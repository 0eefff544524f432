// The RPCs that manage sessions: check -> call -> map. Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_SESSION_HANDLERS_H_
#define BATCHNORMD_SERVER_RPC_SESSION_HANDLERS_H_

#include "absl/status/statusor.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

absl::StatusOr<v1::CreateSessionResponse> CreateSession(
    session::Registry& registry, const v1::CreateSessionRequest& request);

absl::StatusOr<v1::GetSessionResponse> GetSession(
    session::Registry& registry, const v1::GetSessionRequest& request);

absl::StatusOr<v1::ListSessionsResponse> ListSessions(
    session::Registry& registry, const v1::ListSessionsRequest& request);

absl::StatusOr<v1::UpdateSessionResponse> UpdateSession(
    session::Registry& registry, const v1::UpdateSessionRequest& request);

absl::StatusOr<v1::AcquireSessionResponse> AcquireSession(
    session::Registry& registry, const v1::AcquireSessionRequest& request);

absl::StatusOr<v1::ExportSessionResponse> ExportSession(
    session::Registry& registry, const v1::ExportSessionRequest& request);

absl::StatusOr<v1::ImportSessionResponse> ImportSession(
    session::Registry& registry, const v1::ImportSessionRequest& request);

absl::StatusOr<v1::DeleteSessionResponse> DeleteSession(
    session::Registry& registry, const v1::DeleteSessionRequest& request);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_SESSION_HANDLERS_H_
