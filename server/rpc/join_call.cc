#include "server/rpc/join_call.h"

#include <utility>

#include "absl/time/clock.h"
#include "proto/wire/code_name.h"
#include "server/rpc/error_mapping.h"
#include "server/rpc/message_bytes.h"
#include "server/session/error.h"

namespace batchnorm::rpc {

void JoinCall::Post(const JoinMethod& method, const CallFloor& floor) {
  const auto call = std::make_shared<JoinCall>(method, floor);
  call->self_ = call;
  call->context_.AsyncNotifyWhenDone(&call->done_);
  method.request(&call->context_, &call->request_, &call->stream_, &floor.queue,
                 &call->received_);
}

JoinCall::JoinCall(const JoinMethod& method, const CallFloor& floor)
    : method_(method), floor_(floor), stream_(&context_) {
  floor_.census.Enter();
}

JoinCall::~JoinCall() { floor_.census.Leave(); }

void JoinCall::OnReceived(bool ok) {
  if (!ok) {  // the server shuts down; gRPC delivers no `done` then
    const auto last = std::move(self_);
    return;
  }
  Post(method_, floor_);
  received_at_ = absl::Now();
  if (!floor_.census.Receive()) return End(session::ServerDraining());
  absl::StatusOr<std::string> tenant = floor_.access.TenantOf(context_);
  if (!tenant.ok()) return End(tenant.status());
  tenant_ = *std::move(tenant);
  floor_.session_pool.Run([call = shared_from_this()] { call->Join(); });
}

void JoinCall::Join() {
  v1::JoinRequest request;
  absl::Status status = Parse(request_, request);
  if (status.ok()) status = TryJoin(request);
  if (!status.ok()) End(status);
}

absl::Status JoinCall::TryJoin(const v1::JoinRequest& request) {
  const absl::StatusOr<std::shared_ptr<session::Session>> session =
      method_.registry.Of(tenant_).Find(request.session());
  if (!session.ok()) return session.status();
  const absl::StatusOr<std::uint64_t> ticket =
      (*session)->Join(request.rank(), request.job(), request.writer_token(),
                       [call = shared_from_this()](
                           const absl::StatusOr<session::PresentRanks>& news) {
                         call->OnPresence(news);
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
  next_ = std::move(response);
  Send();
}

void JoinCall::End(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (!end_.has_value()) end_ = status;
  Send();
}

void JoinCall::Send() {
  if (is_writing_ || is_finishing_) return;
  if (end_.has_value()) {
    is_finishing_ = true;
    const grpc::Status sent = ToGrpcStatus(*end_);
    Record(sent);
    stream_.Finish(sent, &finished_);
  } else if (next_.has_value()) {
    const absl::StatusOr<grpc::ByteBuffer> bytes = Serialize(*next_);
    next_.reset();
    is_writing_ = true;
    stream_.Write(*bytes, &written_);
  }
}

void JoinCall::Record(const grpc::Status& status) const {
  floor_.on_answered(
      {.method = "Join",
       .code = wire::CodeName(status.error_code()),
       .error = status.error_message(),
       .duration = absl::Now() - received_at_,
       .request_bytes = static_cast<std::int64_t>(request_.Length()),
       .tenant = tenant_,
       .traceparent = TraceparentOf(context_)});
}

void JoinCall::OnWritten(bool /*ok*/) {
  const std::lock_guard lock(mutex_);
  is_writing_ = false;
  Send();
}

// Also when the stream was ended from here: then the rank is not there already.
void JoinCall::OnDone() {
  std::unique_lock lock(mutex_);
  is_over_ = true;
  const std::shared_ptr<session::Session> session = std::move(session_);
  lock.unlock();
  if (session != nullptr) session->Leave(rank_, ticket_);
  End(absl::CancelledError("the caller has left"));
  Forget();
}

void JoinCall::OnFinished() {
  floor_.census.CountAnswered();
  Forget();
}

void JoinCall::Forget() {
  std::shared_ptr<JoinCall> last;
  const std::lock_guard lock(mutex_);
  if (--events_left_ == 0) last = std::move(self_);
}

}  // namespace batchnorm::rpc
