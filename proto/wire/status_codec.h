// Errors between absl::Status and grpc::Status, details included.
//
// On the wire an error is a google.rpc.Status whose details hold an ErrorInfo
// (reason, domain `batchnorm.v1`, metadata), a BadRequest (field) and a
// RetryInfo, each only where it applies. Functions are pure and thread-safe.
#ifndef BATCHNORMD_PROTO_WIRE_STATUS_CODEC_H_
#define BATCHNORMD_PROTO_WIRE_STATUS_CODEC_H_

#include <grpcpp/support/status.h>

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace batchnorm::wire {

inline constexpr char kErrorDomain[] = "batchnorm.v1";

struct ErrorDetail {
  // Stable, e.g. "STEP_GAP"; proto/README.md lists them.
  std::string reason = {};
  // The request field in proto notation; empty if none is bad.
  std::string field = {};
  std::map<std::string, std::string> metadata = {};
  std::optional<absl::Duration> retry_after = {};
};

// The status that a server sends. `status` is not OK.
grpc::Status ToGrpcStatus(const absl::Status& status,
                          const std::optional<ErrorDetail>& detail);

// The status that a client returns: same code and message, the details kept as
// payloads under their type URLs.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The details of a status made by FromGrpcStatus; empty if it carries none,
// as errors of the transport itself.
std::optional<ErrorDetail> ErrorDetailOf(const absl::Status& status);

}  // namespace batchnorm::wire

#endif  // BATCHNORMD_PROTO_WIRE_STATUS_CODEC_H_
