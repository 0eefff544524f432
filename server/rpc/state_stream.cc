#include "server/rpc/state_stream.h"

#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/error_mapping.h"
#include "server/rpc/message_bytes.h"

namespace batchnorm::rpc {

StateStream::StateStream(const CallFloor& floor)
    : floor_(floor), stream_(&context_) {
  floor_.census.Enter();
}

StateStream::~StateStream() { floor_.census.Leave(); }

void StateStream::Ask(const Request& request) {
  self_ = shared_from_this();
  context_.AsyncNotifyWhenDone(&done_);
  request(&context_, &request_, &stream_, &floor_.queue, &received_);
}

void StateStream::Receive(bool ok) {
  if (!ok) {  // the server shuts down; gRPC delivers no `done` then
    const auto last = std::move(self_);
    return;
  }
  OnReceived();
}

void StateStream::Tell(const google::protobuf::Message& state) {
  absl::StatusOr<grpc::ByteBuffer> bytes = Serialize(state);
  if (!bytes.ok()) return End(bytes.status());
  const std::lock_guard lock(mutex_);
  next_ = *std::move(bytes);
  Send();
}

void StateStream::End(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (!end_.has_value()) end_ = status;
  Send();
}

void StateStream::Send() {
  if (is_writing_ || is_finishing_) return;
  if (end_.has_value()) {
    is_finishing_ = true;
    const grpc::Status sent = ToGrpcStatus(*end_);
    OnEnd(sent);
    stream_.Finish(sent, &finished_);
  } else if (next_.has_value()) {
    const grpc::ByteBuffer bytes = *next_;
    next_.reset();
    is_writing_ = true;
    stream_.Write(bytes, &written_);
  }
}

void StateStream::GoOn() {
  const std::lock_guard lock(mutex_);
  is_writing_ = false;
  Send();
}

void StateStream::BeOver() {
  OnOver();
  End(absl::CancelledError("the caller has left"));
  Forget();
}

void StateStream::Finish() {
  OnFinished();
  Forget();
}

void StateStream::Forget() {
  std::shared_ptr<StateStream> last;
  const std::lock_guard lock(mutex_);
  if (--events_left_ == 0) last = std::move(self_);
}

}  // namespace batchnorm::rpc
