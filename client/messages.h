// Internal. Plain structs to and from the messages of batchnorm.v1. Tensors are
// moved. Functions are pure and thread-safe.
//
// A response that breaks the contract (a per-channel vector that is not F64, a
// tensor without its bytes) is INTERNAL, naming the field.
#ifndef BATCHNORMD_CLIENT_MESSAGES_H_
#define BATCHNORMD_CLIENT_MESSAGES_H_

#include "absl/status/statusor.h"
#include "batchnorm/v1/batch_norm_service.pb.h"
#include "client/connection.h"
#include "client/types.h"

namespace batchnorm::client {

v1::Normalization ToProto(const Normalization& normalization);
v1::SessionConfig ToProto(const SessionConfig& config);
v1::ListSessionsRequest ToProto(const ListSessionsArgs& args);
v1::UpdateSessionRequest ToProto(const UpdateSessionArgs& args);
// Without a nonce: acquire_session.h makes one a call.
v1::AcquireSessionRequest ToProto(const AcquireSessionArgs& args);
v1::SessionSnapshot ToProto(const SessionSnapshot& snapshot);
v1::ImportSessionRequest ToProto(const ImportSessionArgs& args);
v1::ForwardRequest ToProto(ForwardArgs&& args);
v1::BackwardRequest ToProto(BackwardArgs&& args);
v1::SyncRequest ToProto(SyncArgs&& args);
v1::EvaluateRequest ToProto(EvaluateArgs&& args);

absl::StatusOr<SessionInfo> FromProto(const v1::Session& session);
absl::StatusOr<SessionPage> FromProto(const v1::ListSessionsResponse& page);
absl::StatusOr<SessionSnapshot> FromProto(const v1::SessionSnapshot& snapshot);
absl::StatusOr<ForwardResult> FromProto(ForwardReply&& reply);
absl::StatusOr<BackwardResult> FromProto(v1::BackwardResponse&& response);
absl::StatusOr<SyncResult> FromProto(SyncReply&& reply);
absl::StatusOr<EvaluateResult> FromProto(v1::EvaluateResponse&& response);

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_MESSAGES_H_
