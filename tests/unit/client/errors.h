// Errors as they arrive from a server.
#ifndef BATCHNORMD_TESTS_UNIT_CLIENT_ERRORS_H_
#define BATCHNORMD_TESTS_UNIT_CLIENT_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "proto/wire/status_codec.h"

namespace batchnorm::client {

inline absl::Status ServerError(absl::StatusCode code,
                                const wire::ErrorDetail& detail) {
  return wire::FromGrpcStatus(
      wire::ToGrpcStatus(absl::Status(code, "as scripted"), detail));
}

inline absl::Status ServerError(absl::StatusCode code,
                                const std::string& reason) {
  return ServerError(code, wire::ErrorDetail{.reason = reason});
}

// The server's "not now, but after this long".
inline absl::Status BusyFor(absl::Duration delay) {
  return ServerError(
      absl::StatusCode::kResourceExhausted,
      {.reason = "TOO_MANY_BYTES_IN_FLIGHT", .retry_after = delay});
}

}  // namespace batchnorm::client

#endif  // BATCHNORMD_TESTS_UNIT_CLIENT_ERRORS_H_
