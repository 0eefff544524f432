// The door to a server: one virtual method per call of batchnorm.v1, in its
// messages, and the standard health check. Implement it to put a server, a
// proxy or a mock (mock_connection.h) behind a Client or a Layer.
//
// Methods are called from any thread, at the same time; an implementation is
// thread-safe. Each returns when the call has an outcome, retries included.
// Errors carry details as client/error.h reads them.
#ifndef BATCHNORMD_CLIENT_CONNECTION_H_
#define BATCHNORMD_CLIENT_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "client/types.h"

namespace batchnorm::client {

// A Forward's response, and whether its step had been taken before.
struct ForwardReply {
  v1::ForwardResponse response = {};
  bool replayed = false;
};

// The same of a Sync.
struct SyncReply {
  v1::SyncResponse response = {};
  bool replayed = false;
};

// What a Join gets. Read and Cancel may be called at the same time. Does not
// outlive its connection.
class JoinStream {
 public:
  virtual ~JoinStream() = default;

  // Waits for the next message; false when the stream has ended.
  virtual bool Read(v1::JoinResponse& response) = 0;
  // Ends the stream from here; a Read that waits returns.
  virtual void Cancel() = 0;
  // Why it ended. After Read has returned false.
  virtual absl::Status Finish() = 0;
};

class Connection {
 public:
  virtual ~Connection() = default;

  virtual absl::StatusOr<v1::CreateSessionResponse> CreateSession(
      const v1::CreateSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::GetSessionResponse> GetSession(
      const v1::GetSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::ListSessionsResponse> ListSessions(
      const v1::ListSessionsRequest& request) = 0;
  virtual absl::StatusOr<v1::UpdateSessionResponse> UpdateSession(
      const v1::UpdateSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::AcquireSessionResponse> AcquireSession(
      const v1::AcquireSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::ExportSessionResponse> ExportSession(
      const v1::ExportSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::ImportSessionResponse> ImportSession(
      const v1::ImportSessionRequest& request) = 0;
  virtual absl::StatusOr<v1::DeleteSessionResponse> DeleteSession(
      const v1::DeleteSessionRequest& request) = 0;
  virtual absl::StatusOr<ForwardReply> Forward(
      const v1::ForwardRequest& request) = 0;
  virtual absl::StatusOr<v1::BackwardResponse> Backward(
      const v1::BackwardRequest& request) = 0;
  virtual absl::StatusOr<SyncReply> Sync(const v1::SyncRequest& request) = 0;
  virtual absl::StatusOr<v1::EvaluateResponse> Evaluate(
      const v1::EvaluateRequest& request) = 0;

  // A stream that its first Read opens; never null. Returns at once, and is not
  // tried again.
  virtual std::unique_ptr<JoinStream> Join(const v1::JoinRequest& request) = 0;

  // grpc.health.v1 of `service`; "" asks about the whole server.
  virtual absl::StatusOr<Health> CheckHealth(const std::string& service) = 0;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_CONNECTION_H_
