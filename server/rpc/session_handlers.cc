#include "server/rpc/session_handlers.h"

#include <utility>

#include "server/rpc/config_mapping.h"
#include "server/rpc/result_mapping.h"
#include "server/rpc/snapshot_mapping.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

// A reply that holds nothing but the session.
template <typename Reply>
absl::StatusOr<Reply> ReplyWith(
    const absl::StatusOr<session::Snapshot>& snapshot) {
  if (!snapshot.ok()) return snapshot.status();
  Reply reply;
  *reply.mutable_session() = ToProto(*snapshot);
  return reply;
}

}  // namespace

absl::StatusOr<v1::CreateSessionResponse> CreateSession(
    session::Registry& registry, const v1::CreateSessionRequest& request) {
  if (!request.has_config()) {
    return session::InvalidField(
        "config", "BAD_CONFIG",
        "expected a configuration with at least its channels, "
        "the request holds none");
  }
  absl::StatusOr<session::SessionConfig> config = FromProto(request.config());
  if (!config.ok()) return config.status();
  return ReplyWith<v1::CreateSessionResponse>(
      registry.Create(request.name(), *std::move(config)));
}

absl::StatusOr<v1::GetSessionResponse> GetSession(
    session::Registry& registry, const v1::GetSessionRequest& request) {
  return ReplyWith<v1::GetSessionResponse>(registry.Get(request.name()));
}

absl::StatusOr<v1::ListSessionsResponse> ListSessions(
    session::Registry& registry, const v1::ListSessionsRequest& request) {
  const absl::StatusOr<session::SessionPage> page = registry.List(
      request.page_size(), request.page_token(), request.prefix());
  if (!page.ok()) return page.status();
  return ToProto(*page);
}

absl::StatusOr<v1::UpdateSessionResponse> UpdateSession(
    session::Registry& registry, const v1::UpdateSessionRequest& request) {
  const std::uint32_t world_size =
      request.world_size() == 0 ? 1 : request.world_size();
  return ReplyWith<v1::UpdateSessionResponse>(
      registry.Update(request.name(), world_size, request.expected_step()));
}

absl::StatusOr<v1::AcquireSessionResponse> AcquireSession(
    session::Registry& registry, const v1::AcquireSessionRequest& request) {
  const absl::StatusOr<session::Acquired> acquired = registry.Acquire(
      request.name(), request.rank(), request.at_least_step(), request.nonce());
  if (!acquired.ok()) return acquired.status();
  v1::AcquireSessionResponse reply;
  reply.set_writer_token(acquired->writer_token);
  reply.set_last_step(acquired->last_step);
  return reply;
}

absl::StatusOr<v1::ExportSessionResponse> ExportSession(
    session::Registry& registry, const v1::ExportSessionRequest& request) {
  const absl::StatusOr<session::ExportedSession> exported =
      registry.Export(request.name());
  if (!exported.ok()) return exported.status();
  v1::ExportSessionResponse reply;
  *reply.mutable_snapshot() = ToProto(*exported);
  return reply;
}

absl::StatusOr<v1::ImportSessionResponse> ImportSession(
    session::Registry& registry, const v1::ImportSessionRequest& request) {
  absl::StatusOr<session::ExportedSession> exported = Take(request.snapshot());
  if (!exported.ok()) return exported.status();
  return ReplyWith<v1::ImportSessionResponse>(
      registry.Import(request.name(), *std::move(exported), request.replace(),
                      request.writer_token()));
}

absl::StatusOr<v1::DeleteSessionResponse> DeleteSession(
    session::Registry& registry, const v1::DeleteSessionRequest& request) {
  absl::Status deleted = registry.Delete(request.name());
  if (!deleted.ok()) return deleted;
  return v1::DeleteSessionResponse();
}

}  // namespace batchnorm::rpc
