#include "server/rpc/error_mapping.h"

#include <optional>
#include <string>
#include <utility>

#include "proto/wire/status_codec.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

// The message travels twice, as grpc-message (percent-encoded) and within
// grpc-status-details-bin (base64).
constexpr std::size_t kMaxMessageBytes = 1024;

std::string Cut(std::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  return std::string(message.substr(0, kMaxMessageBytes)) + "...";
}

std::optional<wire::ErrorDetail> ToWire(
    std::optional<session::ErrorDetail> detail) {
  if (!detail) return std::nullopt;
  return wire::ErrorDetail{.reason = std::move(detail->reason),
                           .field = std::move(detail->field),
                           .metadata = std::move(detail->metadata),
                           .retry_after = detail->retry_after};
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  const std::string_view message(status.message().data(),
                                 status.message().size());
  return wire::ToGrpcStatus(absl::Status(status.code(), Cut(message)),
                            ToWire(session::DetailOf(status)));
}

}  // namespace batchnorm::rpc
