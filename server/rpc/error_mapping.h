// The server's errors as gRPC sends them. The only place that builds one.
// Functions are pure and thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_ERROR_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_ERROR_MAPPING_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace batchnorm::rpc {

// Same code; details of session::MakeError become google.rpc messages. The
// message is cut where it would not fit in gRPC's 8 KiB of trailing metadata.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_ERROR_MAPPING_H_
