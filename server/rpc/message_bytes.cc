#include "server/rpc/message_bytes.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"

namespace batchnorm::rpc {

using Traits = grpc::SerializationTraits<google::protobuf::Message>;

absl::Status Parse(grpc::ByteBuffer& bytes,
                   google::protobuf::Message& request) {
  const std::size_t size = bytes.Length();
  const bool parsed = Traits::Deserialize(&bytes, &request).ok();
  bytes.Clear();
  if (parsed) return absl::OkStatus();
  return session::MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("expected a ", request.GetTypeName(), ", got ", size,
                   " bytes that do not parse as one"),
      {.reason = "MALFORMED_REQUEST"});
}

absl::StatusOr<grpc::ByteBuffer> Serialize(
    const google::protobuf::Message& reply) {
  grpc::ByteBuffer bytes;
  bool owned = false;
  if (Traits::Serialize(reply, &bytes, &owned).ok()) return bytes;
  return absl::InternalError(
      absl::StrCat("a reply of ", reply.ByteSizeLong(), " bytes"));
}

}  // namespace batchnorm::rpc
