#include "client/error.h"

#include "proto/wire/status_codec.h"

namespace batchnorm::client {
namespace {

wire::ErrorDetail DetailOrEmpty(const absl::Status& status) {
  return wire::ErrorDetailOf(status).value_or(wire::ErrorDetail());
}

}  // namespace

std::string Reason(const absl::Status& status) {
  return DetailOrEmpty(status).reason;
}

std::string Field(const absl::Status& status) {
  return DetailOrEmpty(status).field;
}

std::map<std::string, std::string> Metadata(const absl::Status& status) {
  return DetailOrEmpty(status).metadata;
}

std::optional<absl::Duration> RetryAfter(const absl::Status& status) {
  return DetailOrEmpty(status).retry_after;
}

bool IsOutcomeUnknown(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
      return true;
    case absl::StatusCode::kAborted:
      return Reason(status) == "CALL_REPLACED";
    case absl::StatusCode::kResourceExhausted:
      return Reason(status).empty();  // the transport's, not the server's
    default:
      return false;
  }
}

}  // namespace batchnorm::client
