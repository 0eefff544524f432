#include "client/client.h"

#include <iterator>
#include <utility>

#include "client/acquire_session.h"
#include "client/connection.h"
#include "client/messages.h"

namespace batchnorm::client {
namespace {

// The responses of Create, Get, Update and Import are a session each.
template <typename Response>
absl::StatusOr<SessionInfo> SessionOf(
    const absl::StatusOr<Response>& response) {
  if (!response.ok()) return response.status();
  return FromProto(response->session());
}

template <typename Response>
auto ResultOf(absl::StatusOr<Response>&& response)
    -> decltype(FromProto(*std::move(response))) {
  if (!response.ok()) return response.status();
  return FromProto(*std::move(response));
}

}  // namespace

Client::Client(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

Client::Client(ConnectionOptions options)
    : Client(MakeConnection(std::move(options))) {}

absl::StatusOr<SessionInfo> Client::CreateSession(
    const std::string& name, const SessionConfig& config) const {
  v1::CreateSessionRequest request;
  request.set_name(name);
  *request.mutable_config() = ToProto(config);
  return SessionOf(connection_->CreateSession(request));
}

absl::StatusOr<SessionInfo> Client::GetSession(const std::string& name) const {
  v1::GetSessionRequest request;
  request.set_name(name);
  return SessionOf(connection_->GetSession(request));
}

absl::StatusOr<SessionPage> Client::ListSessions(
    const ListSessionsArgs& args) const {
  return ResultOf(connection_->ListSessions(ToProto(args)));
}

absl::StatusOr<std::vector<SessionInfo>> Client::ListAllSessions(
    const std::string& prefix) const {
  std::vector<SessionInfo> sessions;
  ListSessionsArgs args{.page_size = 1000, .prefix = prefix};
  do {
    absl::StatusOr<SessionPage> page = ListSessions(args);
    if (!page.ok()) return page.status();
    std::move(page->sessions.begin(), page->sessions.end(),
              std::back_inserter(sessions));
    if (!page->next_page_token.empty() &&
        page->next_page_token == args.page_token) {
      return absl::InternalError("the server names the same page twice");
    }
    args.page_token = std::move(page->next_page_token);
  } while (!args.page_token.empty());
  return sessions;
}

absl::StatusOr<SessionInfo> Client::UpdateSession(
    const UpdateSessionArgs& args) const {
  return SessionOf(connection_->UpdateSession(ToProto(args)));
}

absl::StatusOr<AcquireSessionResult> Client::AcquireSession(
    const AcquireSessionArgs& args) const {
  return client::AcquireSession(*connection_, args);
}

absl::StatusOr<SessionSnapshot> Client::ExportSession(
    const std::string& name) const {
  v1::ExportSessionRequest request;
  request.set_name(name);
  const auto response = connection_->ExportSession(request);
  if (!response.ok()) return response.status();
  return FromProto(response->snapshot());
}

absl::StatusOr<SessionInfo> Client::ImportSession(
    const ImportSessionArgs& args) const {
  return SessionOf(connection_->ImportSession(ToProto(args)));
}

absl::Status Client::DeleteSession(const std::string& name) const {
  v1::DeleteSessionRequest request;
  request.set_name(name);
  return connection_->DeleteSession(request).status();
}

absl::StatusOr<ForwardResult> Client::Forward(ForwardArgs args) const {
  return ResultOf(connection_->Forward(ToProto(std::move(args))));
}

absl::StatusOr<BackwardResult> Client::Backward(BackwardArgs args) const {
  return ResultOf(connection_->Backward(ToProto(std::move(args))));
}

absl::StatusOr<SyncResult> Client::Sync(SyncArgs args) const {
  return ResultOf(connection_->Sync(ToProto(std::move(args))));
}

absl::StatusOr<EvaluateResult> Client::Evaluate(EvaluateArgs args) const {
  return ResultOf(connection_->Evaluate(ToProto(std::move(args))));
}

absl::StatusOr<Health> Client::CheckHealth(const std::string& service) const {
  return connection_->CheckHealth(service);
}

absl::StatusOr<Layer> Client::OpenLayer(const std::string& name,
                                        const SessionConfig& config,
                                        std::uint32_t rank) const {
  absl::StatusOr<SessionInfo> session = CreateSession(name, config);
  if (!session.ok()) return session.status();
  return Layer(connection_, *session, rank);
}

absl::StatusOr<SyncLayer> Client::OpenSyncLayer(const std::string& name,
                                                const SessionConfig& config,
                                                std::uint32_t rank) const {
  absl::StatusOr<SessionInfo> session = CreateSession(name, config);
  if (!session.ok()) return session.status();
  return SyncLayer(connection_, *session, rank);
}

Presence Client::Join(const JoinArgs& args) const {
  return Presence(connection_, args);
}

}  // namespace batchnorm::client
