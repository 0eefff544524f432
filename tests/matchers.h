// GoogleMock matchers for absl::Status, absl::StatusOr and the details that
// errors carry:
//
//   EXPECT_THAT(status, IsOk());
//   EXPECT_THAT(result, StatusIs(absl::StatusCode::kNotFound));
//   EXPECT_THAT(result, AllOf(HasReason("STEP_GAP"), HasField("step"),
//                             HasMetadata("last_step", "41"),
//                             HasText("expected 42")));
//
// Match the specific code and reason: "not OK" is no specification.
#ifndef BATCHNORMD_TESTS_MATCHERS_H_
#define BATCHNORMD_TESTS_MATCHERS_H_

#include <gmock/gmock.h>

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/error.h"

namespace batchnorm::testing {

inline absl::Status StatusOf(const absl::Status& status) { return status; }

template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

inline session::ErrorDetail DetailOrEmpty(const absl::Status& status) {
  return session::DetailOf(status).value_or(session::ErrorDetail());
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

MATCHER_P(StatusIs, code, "has the code " + absl::StatusCodeToString(code)) {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code;
}

MATCHER_P(HasReason, reason, "has the reason " + std::string(reason)) {
  *result_listener << StatusOf(arg).ToString();
  return DetailOrEmpty(StatusOf(arg)).reason == reason;
}

MATCHER_P(HasField, field, "names the field " + std::string(field)) {
  *result_listener << StatusOf(arg).ToString();
  return DetailOrEmpty(StatusOf(arg)).field == field;
}

MATCHER_P2(HasMetadata, key, value,
           "has the metadata " + std::string(key) + " = " +
               std::string(value)) {
  *result_listener << StatusOf(arg).ToString();
  const auto metadata = DetailOrEmpty(StatusOf(arg)).metadata;
  const auto found = metadata.find(key);
  return found != metadata.end() && found->second == value;
}

MATCHER_P(HasText, text, "says \"" + std::string(text) + "\"") {
  *result_listener << StatusOf(arg).ToString();
  return std::string(StatusOf(arg).message()).find(text) != std::string::npos;
}

}  // namespace batchnorm::testing

#endif  // BATCHNORMD_TESTS_MATCHERS_H_
