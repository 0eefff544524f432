#include "server/session/snapshot_checks.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/session_row.h"

namespace batchnorm::session {

namespace {

constexpr std::uint32_t kFormat = 1;

absl::Status CheckFormat(std::uint32_t format_version) {
  if (format_version <= kFormat) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("snapshot.format_version: expected at most ", kFormat,
                   ", got ", format_version,
                   "; a newer version wrote the snapshot"),
      {.reason = "NEWER_FORMAT", .field = "snapshot.format_version"});
}

absl::Status CheckSize(const char* what, std::size_t size,
                       std::int64_t channels) {
  if (size == static_cast<std::size_t>(channels)) return absl::OkStatus();
  return InvalidField(absl::StrCat("snapshot.running_statistics.", what),
                      "BAD_SNAPSHOT",
                      absl::StrCat("expected ", channels,
                                   " values, one a channel, got ", size));
}

absl::Status CheckBatchCount(std::int64_t batch_count) {
  if (batch_count >= 0) return absl::OkStatus();
  return InvalidField("snapshot.running_statistics.batch_count", "BAD_SNAPSHOT",
                      absl::StrCat("expected at least 0, got ", batch_count));
}

absl::Status CheckChecksum(const ExportedSession& exported) {
  const bool is_right =
      exported.checksum == 0 ||
      exported.checksum == SnapshotChecksum(exported.config, exported.last_step,
                                            exported.running);
  if (is_right) return absl::OkStatus();
  return InvalidField("snapshot.checksum", "BAD_SNAPSHOT",
                      "expected that of the snapshot's content, got another; "
                      "the snapshot was damaged or changed");
}

}  // namespace

absl::Status CheckSnapshot(const ExportedSession& exported) {
  absl::Status status = CheckFormat(exported.format_version);
  if (status.ok()) status = Validate(exported.config);
  const std::int64_t channels = exported.config.channels;
  if (status.ok())
    status = CheckSize("mean", exported.running.mean.size(), channels);
  if (status.ok())
    status = CheckSize("var", exported.running.var.size(), channels);
  if (status.ok()) status = CheckBatchCount(exported.running.batch_count);
  if (status.ok()) status = CheckChecksum(exported);
  return status;
}

}  // namespace batchnorm::session
