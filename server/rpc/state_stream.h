// One stream on the server whose messages are a state. Of what changes while a
// message is under way, only the latest is sent.
//
//   Ask       asks gRPC for the next call of the method
//   received  OnReceived: posts the next one, and goes on to Tell or End
//   written   sends what has changed meanwhile
//   done      the stream is over for gRPC: OnOver
//   finished  all is sent
#ifndef BATCHNORMD_SERVER_RPC_STATE_STREAM_H_
#define BATCHNORMD_SERVER_RPC_STATE_STREAM_H_

#include <google/protobuf/message.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "server/rpc/call.h"
#include "server/rpc/event.h"

namespace batchnorm::rpc {

using RawReplyStream = grpc::ServerAsyncWriter<grpc::ByteBuffer>;

// Thread-safe.
class StateStream : public std::enable_shared_from_this<StateStream> {
 public:
  // The generated RequestX.
  using Request =
      std::function<void(grpc::ServerContext*, grpc::ByteBuffer*,
                         RawReplyStream*, grpc::ServerCompletionQueue*, void*)>;

  explicit StateStream(const CallFloor& floor);
  virtual ~StateStream();

  StateStream(const StateStream&) = delete;
  StateStream& operator=(const StateStream&) = delete;

  // From now on it owns itself, until gRPC has delivered its last two events
  // and nobody else holds it.
  void Ask(const Request& request);

  // The state now, unless the stream has ended.
  void Tell(const google::protobuf::Message& state);
  // The first status that it is given ends the stream.
  void End(const absl::Status& status);

 protected:
  // On the completion queue's thread: not to wait for anything.
  virtual void OnReceived() = 0;
  virtual void OnOver() {}  // also when the stream was ended from here
  virtual void OnFinished() {}
  // What the caller is sent last. Called under a lock: of the stream, only
  // what never changes may be used.
  virtual void OnEnd(const grpc::Status& /*status*/) {}

  const CallFloor& floor() const { return floor_; }
  const grpc::ServerContext& context() const { return context_; }
  grpc::ByteBuffer& request() { return request_; }
  const grpc::ByteBuffer& request() const { return request_; }

 private:
  void Receive(bool ok);
  void GoOn();    // a message is written
  void BeOver();  // done
  void Finish();  // finished
  // REQUIRES: mutex_ is held.
  void Send();
  void Forget();

  const CallFloor& floor_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  RawReplyStream stream_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::optional<grpc::ByteBuffer> next_;
  std::optional<absl::Status> end_;
  bool is_writing_ = false;
  bool is_finishing_ = false;
  int events_left_ = 2;                // done and finished
  std::shared_ptr<StateStream> self_;  // until they have come

  Event received_{[this](bool ok) { Receive(ok); }};
  Event written_{[this](bool) { GoOn(); }};
  Event done_{[this](bool) { BeOver(); }};
  Event finished_{[this](bool) { Finish(); }};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_STATE_STREAM_H_
