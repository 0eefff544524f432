// Matchers for absl::Status and absl::StatusOr. There is no "is not OK": a test
// names the error it expects.
#ifndef BATCHNORMD_TESTS_UNIT_CLIENT_STATUS_MATCHERS_H_
#define BATCHNORMD_TESTS_UNIT_CLIENT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/error.h"

namespace batchnorm::client {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

MATCHER_P(HasCode, code, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code;
}

MATCHER_P2(HasCodeAndReason, code, reason, "") {
  const absl::Status& status = StatusOf(arg);
  *result_listener << status.ToString() << ", reason " << Reason(status);
  return status.code() == code && Reason(status) == reason;
}

}  // namespace batchnorm::client

#endif  // BATCHNORMD_TESTS_UNIT_CLIENT_STATUS_MATCHERS_H_
