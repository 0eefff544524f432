// What an error of this library says beyond its code and message. Functions are
// pure and thread-safe, and answer "" or nothing where the status has no such
// detail, as errors of the network itself.
#ifndef BATCHNORMD_CLIENT_ERROR_H_
#define BATCHNORMD_CLIENT_ERROR_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace batchnorm::client {

// The stable reason, e.g. "STEP_GAP"; proto/README.md lists them all.
std::string Reason(const absl::Status& status);

// The request field that was refused, in proto notation: "x.shape".
std::string Field(const absl::Status& status);

// Facts about the error, e.g. {"last_step", "41"}.
std::map<std::string, std::string> Metadata(const absl::Status& status);

// After which the same call may succeed.
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

// Whether the call may have taken effect although it failed: UNAVAILABLE,
// DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED without a Reason, and
// ABORTED `CALL_REPLACED`, as the same call of another caller may take effect.
// Every other error has changed nothing.
bool IsOutcomeUnknown(const absl::Status& status);

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_ERROR_H_
