// One Join on the server: a stream that tells a rank who is there, and tells
// the others when it ends.
#ifndef BATCHNORMD_SERVER_RPC_JOIN_CALL_H_
#define BATCHNORMD_SERVER_RPC_JOIN_CALL_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/state_stream.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

// What the server does with Joins. Immutable.
struct JoinMethod {
  StateStream::Request request;
  session::Registry& registry;
};

class JoinCall : public StateStream {
 public:
  static void Post(const JoinMethod& method, const CallFloor& floor);

  JoinCall(const JoinMethod& method, const CallFloor& floor)
      : StateStream(floor), method_(method) {}

 private:
  void OnReceived() override;
  void OnOver() override;
  void OnFinished() override;
  void OnEnd(const grpc::Status& status) override;

  // On a thread that may wait.
  void Join();
  absl::Status TryJoin(const v1::JoinRequest& request);
  void OnPresence(const absl::StatusOr<session::PresentRanks>& news);

  const JoinMethod& method_;
  std::string tenant_;
  absl::Time received_at_;
  std::int64_t request_bytes_ = 0;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::shared_ptr<session::Session> session_;  // joined
  std::uint32_t rank_ = 0;
  std::uint64_t ticket_ = 0;
  std::uint64_t latest_version_ = 0;  // of the news
  bool is_over_ = false;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_JOIN_CALL_H_
