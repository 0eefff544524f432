#include "server/rpc/call.h"

#include <chrono>

#include "absl/time/clock.h"
#include "server/rpc/error_mapping.h"
#include "server/session/error.h"
#include "spdlog/spdlog.h"

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
  Post(method_, floor_);
  received_at_ = absl::Now();
  request_bytes_ = static_cast<std::int64_t>(request_.Length());
  const bool may_be_served = floor_.census.Receive();
  if (const absl::Status admitted = Admit(may_be_served); !admitted.ok()) {
    method_.refused(request_, admitted);
    request_.Clear();
    Fail(admitted);
  } else if (!method_.carries_tensors) {
    floor_.session_pool.Run([this] { Answer(); });
  } else {
    floor_.compute_pool.Run([this] {
      floor_.on_turn();
      Answer();
    });
  }
}

absl::Status Call::Admit(bool may_be_served) {
  if (!may_be_served) return session::ServerDraining();
  if (!method_.carries_tensors) return absl::OkStatus();
  absl::Status admitted = floor_.budget.Acquire(request_bytes_);
  if (admitted.ok()) admitted_bytes_ = request_bytes_;
  return admitted;
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
  Log(grpc::Status::OK);
  writer_.Finish(reply, grpc::Status::OK, &finished_);
  Release();
}

void Call::Fail(const absl::Status& status) {
  const grpc::Status sent = ToGrpcStatus(status);
  Log(sent);
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

void Call::Log(const grpc::Status& status) const {
  spdlog::debug("{} code {} in {:.3f} ms, {} bytes of request{}{}",
                method_.name, static_cast<int>(status.error_code()),
                absl::ToDoubleMilliseconds(absl::Now() - received_at_),
                request_bytes_, status.ok() ? "" : ": ",
                status.error_message());
}

}  // namespace batchnorm::rpc
