// What is refused as a snapshot, and with which words. Pure.
#ifndef BATCHNORMD_SERVER_SESSION_SNAPSHOT_CHECKS_H_
#define BATCHNORMD_SERVER_SESSION_SNAPSHOT_CHECKS_H_

#include "absl/status/status.h"
#include "server/session/registry.h"

namespace batchnorm::session {

// FAILED_PRECONDITION `NEWER_FORMAT`; INVALID_ARGUMENT `BAD_CONFIG` for the
// configuration, `BAD_SNAPSHOT` for sizes, counts and a wrong checksum.
absl::Status CheckSnapshot(const ExportedSession& exported);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SNAPSHOT_CHECKS_H_
