#include "server/rpc/call.h"

#include <chrono>

#include "absl/time/clock.h"
#include "proto/wire/code_name.h"
#include "server/rpc/error_mapping.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
void Call::Post(const Method& method, const CallFloor& floor) {
  auto* call = new Call(method, floor);
  call->context_.AsyncNotifyWhenDone(&call->done_);
  method.request(&call->context_, &call->request_, &call->writer_, &floor.queue,
                 &call->received_);
}

Call::Call(const Method& method, const CallFloor& floor)
    : method_(method), floor_(floor), writer_(&context_) {
  floor_.census.Enter();
}

Call::~Call() { floor_.census.Leave(); }

void Call::OnReceived(bool ok) {
  if (!ok) {  // the server shuts down; gRPC delivers no `done` then
    delete this;
    return;
  }
  const Method& method = method_;
  const CallFloor& floor = floor_;
  Dispatch();
  // This call is not over before this thread has seen its last events, so the
  // queue is still open.
  Post(method, floor);
}

void Call::Dispatch() {
  received_at_ = absl::Now();
  request_bytes_ = static_cast<std::int64_t>(request_.Length());
  const bool may_be_served = floor_.census.Receive();
  if (!may_be_served) {
    Refuse(session::ServerDraining());
  } else if (const absl::Status known = Identify(); !known.ok()) {
    Refuse(known);
  } else if (const absl::Status admitted = Admit(); !admitted.ok()) {
    method_.refused(tenant_, request_, admitted);
    Refuse(admitted);
  } else if (!method_.carries_tensors) {
    floor_.session_pool.Run([this] { Answer(); });
  } else if (method_.is_quick(tenant_, request_)) {
    TakeTurn();
  } else {
    floor_.compute_pool.Run([this] { TakeTurn(); });
  }
}

absl::Status Call::Identify() {
  absl::StatusOr<std::string> tenant = floor_.access.TenantOf(context_);
  if (!tenant.ok()) return tenant.status();
  tenant_ = *std::move(tenant);
  return absl::OkStatus();
}

absl::Status Call::Admit() {
  if (!method_.carries_tensors) return absl::OkStatus();
  absl::Status admitted = floor_.budget.Acquire(request_bytes_);
  if (admitted.ok()) admitted_bytes_ = request_bytes_;
  return admitted;
}

// What was not parsed need not be held until gRPC has told the caller.
void Call::Refuse(const absl::Status& why) {
  request_.Clear();
  Fail(why);
}

void Call::TakeTurn() {
  floor_.on_turn();
  Answer();
}

void Call::Answer() {
  if (const absl::Status alive = CheckAlive(); !alive.ok()) {
    Fail(alive);
  } else {
    method_.answer(*this, request_);
  }
}

absl::Status Call::CheckAlive() const {
  if (cancelled_) return absl::CancelledError("cancelled by the caller");
  if (context_.deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError(
        "the deadline passed before the server began; nothing was changed");
  }
  return absl::OkStatus();
}

void Call::AddTrailer(const std::string& key, const std::string& value) {
  context_.AddTrailingMetadata(key, value);
}

void Call::Finish(const grpc::ByteBuffer& reply) {
  Record(grpc::Status::OK, reply.Length());
  writer_.Finish(reply, grpc::Status::OK, &finished_);
  Release();
}

void Call::Fail(const absl::Status& status) {
  const grpc::Status sent = ToGrpcStatus(status);
  Record(sent, 0);
  writer_.FinishWithError(sent, &finished_);
  Release();
}

void Call::OnDone() {
  cancelled_ = context_.IsCancelled();
  if (cancelled_) floor_.census.CountGivenUp();
  Release();
}

void Call::OnFinished() {
  // Until here the reply was held in memory, and counts.
  floor_.budget.Release(admitted_bytes_);
  floor_.census.CountAnswered();
  Release();
}

void Call::Release() {
  if (holders_.fetch_sub(1) == 1) delete this;
}

void Call::Record(const grpc::Status& status, std::size_t reply_bytes) const {
  floor_.on_answered({.method = method_.name,
                      .code = wire::CodeName(status.error_code()),
                      .error = status.error_message(),
                      .duration = absl::Now() - received_at_,
                      .request_bytes = request_bytes_,
                      .reply_bytes = static_cast<std::int64_t>(reply_bytes),
                      .tenant = tenant_,
                      .traceparent = TraceparentOf(context_)});
}

}  // namespace batchnorm::rpc
