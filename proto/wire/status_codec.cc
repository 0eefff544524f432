#include "proto/wire/status_codec.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace batchnorm::wire {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

// Peers refuse more than 8 KiB of metadata, and the text of an error travels
// twice: percent-encoded, and in base64 among the details.
constexpr std::size_t kMaxTextBytes = 640;
// A peer's list of details is not ours: more than this is noise.
constexpr int kMaxDetails = 16;
// The largest google.protobuf.Duration: 10,000 years.
constexpr std::int64_t kMaxRetrySeconds = 315'576'000'000;

// Proto strings must be UTF-8 and log lines one line; errors are in ASCII.
std::string PrintableAscii(std::string_view text) {
  std::string printable(text.substr(0, kMaxTextBytes));
  std::replace_if(
      printable.begin(), printable.end(),
      [](char c) { return c < ' ' || c > '~'; }, '?');
  return printable;
}

std::string MessageOf(const absl::Status& status) {
  return PrintableAscii({status.message().data(), status.message().size()});
}

google::rpc::ErrorInfo ToErrorInfo(const ErrorDetail& detail) {
  google::rpc::ErrorInfo info;
  info.set_domain(kErrorDomain);
  info.set_reason(detail.reason);
  for (const auto& [key, value] : detail.metadata) {
    (*info.mutable_metadata())[key] = PrintableAscii(value);
  }
  return info;
}

google::rpc::BadRequest ToBadRequest(const std::string& field,
                                     const std::string& message) {
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(PrintableAscii(field));
  violation->set_description(message);
  return bad_request;
}

google::rpc::RetryInfo ToRetryInfo(absl::Duration retry_after) {
  const absl::Duration delay = std::clamp(retry_after, absl::ZeroDuration(),
                                          absl::Seconds(kMaxRetrySeconds));
  const std::int64_t seconds = absl::ToInt64Seconds(delay);
  google::rpc::RetryInfo info;
  auto* proto = info.mutable_retry_delay();
  proto->set_seconds(seconds);
  proto->set_nanos(static_cast<std::int32_t>(
      absl::ToInt64Nanoseconds(delay - absl::Seconds(seconds))));
  return info;
}

void AddDetails(const ErrorDetail& detail, google::rpc::Status& status) {
  status.add_details()->PackFrom(ToErrorInfo(detail));
  if (!detail.field.empty()) {
    status.add_details()->PackFrom(
        ToBadRequest(detail.field, status.message()));
  }
  if (detail.retry_after.has_value()) {
    status.add_details()->PackFrom(ToRetryInfo(*detail.retry_after));
  }
}

// A code that this build does not know is UNKNOWN, as the gRPC guide asks.
absl::StatusCode CodeOf(const grpc::Status& status) {
  const int code = status.error_code();
  const bool known = code > 0 && code <= grpc::StatusCode::UNAUTHENTICATED;
  return known ? static_cast<absl::StatusCode>(code)
               : absl::StatusCode::kUnknown;
}

void KeepDetails(const std::string& bytes, absl::Status& status) {
  google::rpc::Status proto;
  if (!proto.ParseFromString(bytes)) return;
  const int count = std::min(proto.details_size(), kMaxDetails);
  for (int i = 0; i < count; ++i) {
    status.SetPayload(proto.details(i).type_url(),
                      absl::Cord(proto.details(i).value()));
  }
}

// The payload under `url`; empty if it is absent or does not parse.
template <typename Proto>
std::optional<Proto> PayloadOf(const absl::Status& status, const char* url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  Proto proto;
  if (!payload.has_value() || !proto.ParseFromString(std::string(*payload))) {
    return std::nullopt;
  }
  return proto;
}

std::string FieldOf(const absl::Status& status) {
  const auto proto = PayloadOf<google::rpc::BadRequest>(status, kBadRequestUrl);
  if (!proto.has_value() || proto->field_violations().empty()) return "";
  return proto->field_violations(0).field();
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const auto proto = PayloadOf<google::rpc::RetryInfo>(status, kRetryInfoUrl);
  if (!proto.has_value()) return std::nullopt;
  const std::int64_t seconds = proto->retry_delay().seconds();
  const std::int32_t nanos = proto->retry_delay().nanos();
  const bool valid = seconds >= 0 && seconds <= kMaxRetrySeconds &&
                     nanos >= 0 && nanos < 1'000'000'000;
  if (!valid) return std::nullopt;
  return absl::Seconds(seconds) + absl::Nanoseconds(nanos);
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status,
                          const std::optional<ErrorDetail>& detail) {
  const std::string message = MessageOf(status);
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (!detail.has_value()) return grpc::Status(code, message);
  google::rpc::Status proto;
  proto.set_code(code);
  proto.set_message(message);
  AddDetails(*detail, proto);
  return grpc::Status(code, message, proto.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(CodeOf(status), status.error_message());
  KeepDetails(status.error_details(), result);
  return result;
}

std::optional<ErrorDetail> ErrorDetailOf(const absl::Status& status) {
  const auto info = PayloadOf<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  if (!info.has_value() || info->domain() != kErrorDomain) return std::nullopt;
  return ErrorDetail{
      .reason = info->reason(),
      .field = FieldOf(status),
      .metadata = {info->metadata().begin(), info->metadata().end()},
      .retry_after = RetryAfterOf(status)};
}

}  // namespace batchnorm::wire
