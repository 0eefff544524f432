#include "server/rpc/join_call.h"

#include <utility>

#include "absl/time/clock.h"
#include "proto/wire/code_name.h"
#include "server/rpc/message_bytes.h"
#include "server/session/error.h"

namespace batchnorm::rpc {

void JoinCall::Post(const JoinMethod& method, const CallFloor& floor) {
  std::make_shared<JoinCall>(method, floor)->Ask(method.request);
}

void JoinCall::OnReceived() {
  Post(method_, floor());
  received_at_ = absl::Now();
  request_bytes_ = static_cast<std::int64_t>(request().Length());
  if (!floor().census.Receive()) return End(session::ServerDraining());
  absl::StatusOr<std::string> tenant = floor().access.TenantOf(context());
  if (!tenant.ok()) return End(tenant.status());
  tenant_ = *std::move(tenant);
  floor().session_pool.Run([this, self = shared_from_this()] { Join(); });
}

void JoinCall::Join() {
  v1::JoinRequest message;
  absl::Status status = Parse(request(), message);
  if (status.ok()) status = TryJoin(message);
  if (!status.ok()) End(status);
}

absl::Status JoinCall::TryJoin(const v1::JoinRequest& request) {
  const absl::StatusOr<std::shared_ptr<session::Session>> session =
      method_.registry.Of(tenant_).Find(request.session());
  if (!session.ok()) return session.status();
  const absl::StatusOr<std::uint64_t> ticket =
      (*session)->Join(request.rank(), request.job(), request.writer_token(),
                       [this, self = shared_from_this()](
                           const absl::StatusOr<session::PresentRanks>& news) {
                         OnPresence(news);
                       });
  if (!ticket.ok()) return ticket.status();
  std::unique_lock lock(mutex_);
  rank_ = request.rank();
  ticket_ = *ticket;
  if (!is_over_) {
    session_ = *session;
    return absl::OkStatus();
  }
  lock.unlock();  // it ended before it had joined
  (*session)->Leave(request.rank(), *ticket);
  return absl::OkStatus();
}

void JoinCall::OnPresence(const absl::StatusOr<session::PresentRanks>& news) {
  if (!news.ok()) return End(news.status());
  v1::JoinResponse response;
  for (const std::uint32_t rank : news->ranks) response.add_present_ranks(rank);
  response.set_last_step(news->last_step);
  const std::lock_guard lock(mutex_);
  if (news->version < latest_version_) return;
  latest_version_ = news->version;
  Tell(response);
}

// When the stream was ended from here, the rank is not there already.
void JoinCall::OnOver() {
  std::unique_lock lock(mutex_);
  is_over_ = true;
  const std::shared_ptr<session::Session> session = std::move(session_);
  lock.unlock();
  if (session != nullptr) session->Leave(rank_, ticket_);
}

void JoinCall::OnFinished() { floor().census.CountAnswered(); }

void JoinCall::OnEnd(const grpc::Status& status) {
  floor().on_answered({.method = "Join",
                       .code = wire::CodeName(status.error_code()),
                       .error = status.error_message(),
                       .duration = absl::Now() - received_at_,
                       .request_bytes = request_bytes_,
                       .tenant = tenant_,
                       .traceparent = TraceparentOf(context())});
}

}  // namespace batchnorm::rpc
