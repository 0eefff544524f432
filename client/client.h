// The C++ library of batchnormd: calls with plain structs, without protobuf.
#ifndef BATCHNORMD_CLIENT_CLIENT_H_
#define BATCHNORMD_CLIENT_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/credentials.h"
#include "client/layer.h"
#include "client/make_connection.h"
#include "client/presence.h"
#include "client/sync_layer.h"
#include "client/types.h"
#include "proto/wire/tensor_values.h"  // MakeTensor, ToDoubles

namespace batchnorm::client {

// All calls of one server. For training, OpenLayer gives a handle that numbers
// steps by itself. From client/examples/evaluate.cc [evaluate]:
//
//     Client client({.target = address});
//     auto result = client.Evaluate(
//         {.normalization = {.eps = 0},
//          .x = MakeTensor(std::vector<float>{1, 10, 3, 30}, {2, 2}),
//          .gamma = MakeTensor(std::vector<float>{2, 1}, {2}),
//          .dy = MakeTensor(std::vector<float>{1, 0, 0, 0}, {2, 2})});
//     if (!result.ok()) return result.status();
//     Print("mean", result->statistics->mean);  // 2 20
//     Print("var", result->statistics->var);    // 1 100
//     Print("y", ToDoubles(*result->y));        // -2 -1 2 1
//     Print("dgamma", *result->dgamma);         // -1 0
//
// Performance: a Client is a pointer to its Connection, cheap to copy. Calls
// block the calling thread; make them at the same time from several. Tensors
// are moved into a call and out of its result, never copied.
//
// Thread Safety: copies may be used at the same time from different threads,
// and so may the const methods of one object.
//
// Error Handling: every method returns a status: the server's code and message
// (and the number of attempts, if there were several), its reason and field
// through client/error.h. Calls are tried again as client/retry_policy.h says,
// always with the same request. An error with code UNAVAILABLE,
// DEADLINE_EXCEEDED or CANCELLED, or RESOURCE_EXHAUSTED without a Reason,
// leaves open whether the call took effect; every other one has changed
// nothing.
class Client {
 public:
  explicit Client(std::shared_ptr<Connection> connection);
  // The same as Client(MakeConnection(options)).
  explicit Client(ConnectionOptions options = {});

  // Creates the session, or returns the one of this name if it has the same
  // configuration. Under an empty name the server makes one; if then a reply is
  // lost, the retry makes another, and the server forgets the idle first one.
  absl::StatusOr<SessionInfo> CreateSession(const std::string& name,
                                            const SessionConfig& config) const;

  absl::StatusOr<SessionInfo> GetSession(const std::string& name) const;

  // One page, without running statistics.
  absl::StatusOr<SessionPage> ListSessions(const ListSessionsArgs& args) const;

  // All pages. Not a snapshot: sessions that come or go meanwhile may be
  // missing, none is named twice.
  absl::StatusOr<std::vector<SessionInfo>> ListAllSessions(
      const std::string& prefix = "") const;

  absl::StatusOr<SessionInfo> UpdateSession(
      const UpdateSessionArgs& args) const;

  // Makes the caller the session's writer: calls with an older token are
  // FAILED_PRECONDITION `FENCED` from then on. Each call of this method is
  // another writer; its own retries are the same one.
  absl::StatusOr<AcquireSessionResult> AcquireSession(
      const AcquireSessionArgs& args) const;

  // What a checkpoint needs of the session. To be stored whole and unchanged:
  // the checksum covers all of it.
  absl::StatusOr<SessionSnapshot> ExportSession(const std::string& name) const;

  // Creates a session from a snapshot, or with `replace` sets an existing one
  // forward or back. All writers but the one of `writer_token` are fenced.
  absl::StatusOr<SessionInfo> ImportSession(
      const ImportSessionArgs& args) const;

  // NOT_FOUND means there was none. Where an earlier attempt of this very call
  // had an unknown outcome it means success: the session is gone.
  absl::Status DeleteSession(const std::string& name) const;

  absl::StatusOr<ForwardResult> Forward(ForwardArgs args) const;
  absl::StatusOr<BackwardResult> Backward(BackwardArgs args) const;
  // For workers with kernels of their own: sums in, finished numbers of the
  // whole batch out. Plain sums will do (one limb); with exact ones, as a
  // SyncLayer makes them, results have the bits of one process.
  absl::StatusOr<SyncResult> Sync(SyncArgs args) const;
  absl::StatusOr<EvaluateResult> Evaluate(EvaluateArgs args) const;

  // "" asks about the whole server; see also kServiceName.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "") const;

  // Creates the session if it is new, and continues after its last step, as one
  // rank of config.world_size.
  absl::StatusOr<Layer> OpenLayer(const std::string& name,
                                  const SessionConfig& config,
                                  std::uint32_t rank = 0) const;

  // The same for a rank whose tensors stay here.
  absl::StatusOr<SyncLayer> OpenSyncLayer(const std::string& name,
                                          const SessionConfig& config,
                                          std::uint32_t rank = 0) const;

  // Tells the group that this rank is alive, until the object is gone.
  Presence Join(const JoinArgs& args) const;

 private:
  std::shared_ptr<Connection> connection_;
};

inline constexpr char kServiceName[] = "batchnorm.v1.BatchNormService";

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_CLIENT_H_
