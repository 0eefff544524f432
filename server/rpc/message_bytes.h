// Protobuf messages and the bytes that gRPC carries. Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_MESSAGE_BYTES_H_
#define BATCHNORMD_SERVER_RPC_MESSAGE_BYTES_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace batchnorm::rpc {

// INVALID_ARGUMENT `MALFORMED_REQUEST` if the bytes are not that message.
// Empties the buffer, whose memory the message has no need of.
absl::Status Parse(grpc::ByteBuffer& bytes, google::protobuf::Message& request);

// INTERNAL if the message is larger than protobuf can write (2 GiB).
absl::StatusOr<grpc::ByteBuffer> Serialize(
    const google::protobuf::Message& reply);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_MESSAGE_BYTES_H_
