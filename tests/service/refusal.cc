#include "tests/service/refusal.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace batchnorm::service_test {
namespace {

void ReadDetail(const google::protobuf::Any& detail, Refusal& refusal) {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  if (detail.UnpackTo(&info)) {
    refusal.domain = info.domain();
    refusal.reason = info.reason();
    refusal.metadata = {info.metadata().begin(), info.metadata().end()};
  } else if (detail.UnpackTo(&bad_request)) {
    EXPECT_EQ(bad_request.field_violations_size(), 1);
    refusal.field = bad_request.field_violations(0).field();
  } else if (detail.UnpackTo(&retry)) {
    refusal.retry_seconds = static_cast<double>(retry.retry_delay().seconds()) +
                            1e-9 * retry.retry_delay().nanos();
  }
}

}  // namespace

Refusal RefusalOf(const grpc::Status& status) {
  Refusal refusal;
  refusal.code = status.error_code();
  refusal.message = status.error_message();
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const google::protobuf::Any& detail : details.details()) {
    ReadDetail(detail, refusal);
  }
  return refusal;
}

std::ostream& operator<<(std::ostream& out, const Refusal& refusal) {
  return out << "code " << refusal.code << ", reason " << refusal.reason
             << ", field '" << refusal.field << "': " << refusal.message;
}

}  // namespace batchnorm::service_test
