#include "client/cli/diagnosis.h"

#include <fmt/format.h>

#include "absl/strings/cord.h"

namespace batchnorm::cli {
namespace {

constexpr char kWhy[] = "batchnorm.cli/why";
constexpr char kHint[] = "batchnorm.cli/hint";

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status ToStatus(const Diagnosis& diagnosis) {
  absl::Status status = absl::InvalidArgumentError(diagnosis.error);
  status.SetPayload(kWhy, absl::Cord(diagnosis.why));
  status.SetPayload(kHint, absl::Cord(diagnosis.hint));
  return status;
}

std::optional<Diagnosis> DiagnosisOf(const absl::Status& status) {
  if (!status.GetPayload(kWhy)) return std::nullopt;
  return Diagnosis{std::string(status.message()), Payload(status, kWhy),
                   Payload(status, kHint)};
}

absl::Status Of(std::string_view subject, const absl::Status& status) {
  auto diagnosis = DiagnosisOf(status);
  if (!diagnosis) return status;
  diagnosis->error = fmt::format("{}: {}", subject, diagnosis->error);
  return ToStatus(*diagnosis);
}

}  // namespace batchnorm::cli
