#include "server/session/error.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace batchnorm::session {

namespace {

// One payload a detail; a metadata entry's key follows its prefix.
constexpr char kReason[] = "batchnorm.v1/reason";
constexpr char kField[] = "batchnorm.v1/field";
constexpr char kRetryAfter[] = "batchnorm.v1/retry_after";
constexpr std::string_view kMetadata = "batchnorm.v1/metadata/";

absl::string_view ToAbsl(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

std::string ToString(const absl::Cord& cord) { return std::string(cord); }

void AddPayload(std::string_view type, const absl::Cord& payload,
                ErrorDetail& detail) {
  if (type == kReason) {
    detail.reason = ToString(payload);
  } else if (type == kField) {
    detail.field = ToString(payload);
  } else if (type == kRetryAfter) {
    absl::Duration delay;
    if (absl::ParseDuration(ToString(payload), &delay)) {
      detail.retry_after = delay;
    }
  } else if (type.starts_with(kMetadata)) {
    const std::string key(type.substr(kMetadata.size()));
    detail.metadata[key] = ToString(payload);
  }
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, std::string_view message,
                       const ErrorDetail& detail) {
  absl::Status status(code, ToAbsl(message));
  status.SetPayload(kReason, absl::Cord(detail.reason));
  if (!detail.field.empty()) {
    status.SetPayload(kField, absl::Cord(detail.field));
  }
  for (const auto& [key, value] : detail.metadata) {
    status.SetPayload(absl::StrCat(ToAbsl(kMetadata), key), absl::Cord(value));
  }
  if (detail.retry_after.has_value()) {
    status.SetPayload(kRetryAfter,
                      absl::Cord(absl::FormatDuration(*detail.retry_after)));
  }
  return status;
}

absl::Status InvalidField(std::string_view field, std::string_view reason,
                          std::string_view expected_and_got) {
  const std::string message =
      absl::StrCat(ToAbsl(field), ": ", ToAbsl(expected_and_got));
  return MakeError(
      absl::StatusCode::kInvalidArgument, message,
      {.reason = std::string(reason), .field = std::string(field)});
}

absl::Status ServerDraining() {
  return MakeError(absl::StatusCode::kUnavailable,
                   "the server is shutting down; the call changed nothing",
                   {.reason = "SERVER_DRAINING"});
}

std::optional<ErrorDetail> DetailOf(const absl::Status& status) {
  if (!status.GetPayload(kReason).has_value()) return std::nullopt;
  ErrorDetail detail;
  status.ForEachPayload(
      [&detail](absl::string_view type, const absl::Cord& payload) {
        AddPayload(std::string_view(type.data(), type.size()), payload, detail);
      });
  return detail;
}

}  // namespace batchnorm::session
