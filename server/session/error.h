// How the server says no: a canonical code, a stable reason, the offending
// field, and text that says what was expected and what came.
//
// Details ride on absl::Status as payloads, so they pass through any function
// that returns a Status; rpc/ turns them into google.rpc messages. Reasons are
// part of the contract: proto/README.md lists them.
#ifndef BATCHNORMD_SERVER_SESSION_ERROR_H_
#define BATCHNORMD_SERVER_SESSION_ERROR_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace batchnorm::session {

struct ErrorDetail {
  std::string reason{};  // e.g. "STEP_GAP"; stable
  std::string field{};   // request field in proto notation, "x.shape"; or empty
  std::map<std::string, std::string> metadata{};  // e.g. {"last_step", "41"}
  std::optional<absl::Duration> retry_after{};  // set where it passes by itself
};

// A status with details. The message is for people: what was expected and what
// came, without paths, addresses or internal names.
absl::Status MakeError(absl::StatusCode code, std::string_view message,
                       const ErrorDetail& detail);

// The commonest error: INVALID_ARGUMENT about one field, which begins the text:
// "x.shape: expected ...".
absl::Status InvalidField(std::string_view field, std::string_view reason,
                          std::string_view expected_and_got);

// UNAVAILABLE `SERVER_DRAINING`.
absl::Status ServerDraining();

// The details of a status made by MakeError; empty otherwise.
std::optional<ErrorDetail> DetailOf(const absl::Status& status);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_ERROR_H_
