// What of a session outlives the server, and its form in the store: a header,
// which is what a list needs, and a body. Version 1, little-endian:
//
//   header   u8 version, u8 is_named, i64 create_time, i64 write_time
//            (ns since 1970), u64 last_step, the configuration, u64 checksum
//   body     u8 version, i64 batch_count, f64 mean[channels],
//            f64 var[channels], u32 n, n fingerprints of 4 u64 (the window,
//            oldest step first), [version 2: the same n steps as u8 is_group,
//            and if it is 1, u8 k, k passes of u32], u32 m, m writers (u32
//            rank, token, nonce, each after its u8 length), u64 checksum of
//            the header, u64 checksum
//   part     u8 version, u64 step, what group_row.h has of it, u64 checksum
//
// Version 2 of a body is written only where a step of the window was a group's.
// What such a step is, and each of its passes, is a part: written once. Its
// number is (step mod step_window) * 17, and 1 + pass more for a pass: so the
// parts of a step that leaves the window are replaced in time, and those that
// the body does not name are of no step.
//
// Checksums are XXH3-64, over the row's name and version too: a row that was
// damaged, or took another one's place, is noticed. Functions are pure and
// thread-safe.
#ifndef BATCHNORMD_SERVER_SESSION_SESSION_ROW_H_
#define BATCHNORMD_SERVER_SESSION_SESSION_ROW_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/session/config.h"
#include "server/session/fingerprint.h"
#include "server/session/running_statistics.h"
#include "server/session/step_window.h"
#include "server/session/writers.h"
#include "server/storage/store.h"

namespace batchnorm::session {

struct RowHeader {
  SessionConfig config;
  bool is_named = true;  // by its user, not by the server
  absl::Time create_time;
  absl::Time write_time;
  std::uint64_t last_step = 0;
};

struct SessionRow {
  RowHeader header;
  RunningStatistics running;
  std::vector<StoredStep> steps;  // of the window, up to last_step
  Writers writers;
};

// What replaces the row of `expected`, which has all changes up to `lasting`.
// References, as vectors may be large.
storage::Write EncodeRow(const RowHeader& header,
                         const RunningStatistics& running,
                         const std::vector<StoredStep>& steps,
                         const Writers& writers, std::string_view name,
                         storage::Version expected, std::uint64_t lasting = 0);

// DATA_LOSS `SESSION_DAMAGED`, naming the session, if the bytes are not a row
// of that name and version; FAILED_PRECONDITION `NEWER_FORMAT`.
absl::StatusOr<RowHeader> DecodeHeader(const storage::Row& row);
absl::StatusOr<SessionRow> DecodeRow(const storage::Row& row);

// DATA_LOSS `SESSION_DAMAGED`.
absl::Status SessionDamaged(std::string_view name);

// Of all that a snapshot holds; never 0.
std::uint64_t SnapshotChecksum(const SessionConfig& config,
                               std::uint64_t last_step,
                               const RunningStatistics& running);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_ROW_H_
