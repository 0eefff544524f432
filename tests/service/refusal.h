// Matches a call that was refused, by what a client in any language sees: the
// code and the google.rpc details.
//
//   EXPECT_THAT(status, Refused(grpc::StatusCode::NOT_FOUND,
//                               "SESSION_NOT_FOUND", "name"));
#ifndef BATCHNORMD_TESTS_SERVICE_REFUSAL_H_
#define BATCHNORMD_TESTS_SERVICE_REFUSAL_H_

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>

#include <map>
#include <optional>
#include <ostream>
#include <string>

namespace batchnorm::service_test {

struct Refusal {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string domain;
  std::string reason;
  std::map<std::string, std::string> metadata;
  std::string field;  // of the only BadRequest violation; empty if none
  std::optional<double> retry_seconds;
  std::string message;
};

Refusal RefusalOf(const grpc::Status& status);
std::ostream& operator<<(std::ostream& out, const Refusal& refusal);

MATCHER_P3(Refused, code, reason, field, "") {
  const Refusal refusal = RefusalOf(arg);
  *result_listener << refusal;
  return refusal.code == code && refusal.reason == reason &&
         refusal.field == field && refusal.domain == "batchnorm.v1" &&
         !refusal.message.empty();
}

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_REFUSAL_H_
