// One Join on the server: a stream that tells a rank who is there, and tells
// the others when it ends.
//
//   Post      asks gRPC for the next Join
//   received  posts the next one, and joins, on a thread that may wait
//   written   sends what has changed meanwhile: the latest state only
//   done      the stream is over for gRPC: the rank has left
//   finished  all is sent
#ifndef BATCHNORMD_SERVER_RPC_JOIN_CALL_H_
#define BATCHNORMD_SERVER_RPC_JOIN_CALL_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/event.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

using RawReplyStream = grpc::ServerAsyncWriter<grpc::ByteBuffer>;

// What the server does with Joins. Immutable.
struct JoinMethod {
  // The generated RequestJoin.
  std::function<void(grpc::ServerContext*, grpc::ByteBuffer*, RawReplyStream*,
                     grpc::ServerCompletionQueue*, void* tag)>
      request;
  session::Registry& registry;
};

// Owns itself until gRPC has delivered its last two events and the session has
// let go of it.
class JoinCall : public std::enable_shared_from_this<JoinCall> {
 public:
  static void Post(const JoinMethod& method, const CallFloor& floor);

  JoinCall(const JoinMethod& method, const CallFloor& floor);
  ~JoinCall();

  JoinCall(const JoinCall&) = delete;
  JoinCall& operator=(const JoinCall&) = delete;

 private:
  void OnReceived(bool ok);
  void OnWritten(bool ok);
  void OnDone();
  void OnFinished();

  void Join();
  absl::Status TryJoin(const v1::JoinRequest& request);
  void OnPresence(const absl::StatusOr<session::PresentRanks>& news);
  void End(const absl::Status& status);
  // REQUIRES: mutex_ is held.
  void Send();
  void Record(const grpc::Status& status) const;
  void Forget();

  const JoinMethod& method_;
  const CallFloor& floor_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  RawReplyStream stream_;
  std::string tenant_;
  absl::Time received_at_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::shared_ptr<session::Session> session_;  // joined
  std::uint32_t rank_ = 0;
  std::uint64_t ticket_ = 0;
  std::uint64_t latest_version_ = 0;  // of the news
  std::optional<v1::JoinResponse> next_;
  std::optional<absl::Status> end_;
  bool is_writing_ = false;
  bool is_finishing_ = false;
  bool is_over_ = false;
  int events_left_ = 2;             // done and finished
  std::shared_ptr<JoinCall> self_;  // until they have come

  Event received_{[this](bool ok) { OnReceived(ok); }};
  Event written_{[this](bool ok) { OnWritten(ok); }};
  Event done_{[this](bool) { OnDone(); }};
  Event finished_{[this](bool) { OnFinished(); }};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_JOIN_CALL_H_
