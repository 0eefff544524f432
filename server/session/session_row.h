// What of a session outlives the server, and its form in the store: a header,
// which is what a list needs, and a body. Version 1, little-endian:
//
//   header   u8 version, u8 is_named, i64 create_time, i64 write_time
//            (ns since 1970), u64 last_step, the configuration, u64 checksum
//   body     u8 version, i64 batch_count, f64 mean[channels],
//            f64 var[channels], u32 n, n digests of 4 u64 (the window, oldest
//            step first), u32 m, m writers (u32 rank, token, nonce, each
//            after its u8 length), u64 checksum of the header, u64 checksum
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
  std::vector<Fingerprint> fingerprints;  // of the steps up to last_step
  Writers writers;
};

// `version` is the one that the row gets by the write. References, as vectors
// may be large.
storage::Write EncodeRow(const RowHeader& header,
                         const RunningStatistics& running,
                         const std::vector<Fingerprint>& fingerprints,
                         const Writers& writers, std::string_view name,
                         storage::Version expected);

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
