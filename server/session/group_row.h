// A step of a group as bytes, which parts of a session's row hold
// (session_row.h):
//
//   forward    u32 W, W fingerprints of 4 u64,
//              u64 length, ForwardSums::Serialize() of the whole batch
//   backward   W digests of 2 u64, and the finished numbers dgamma, dbeta,
//              mean_dy, mean_dy_lo, k: each f64[channels]
//
// The statistics are not in it: they are finished from the sums again. A reader
// is not ok() after bytes that are none of these.
#ifndef BATCHNORMD_SERVER_SESSION_GROUP_ROW_H_
#define BATCHNORMD_SERVER_SESSION_GROUP_ROW_H_

#include "server/session/config.h"
#include "server/session/group_step.h"
#include "server/session/row_bytes.h"

namespace batchnorm::session {

void AddDigest(const Digest& digest, ByteWriter& out);
Digest ReadDigest(ByteReader& in);
void AddFingerprint(const Fingerprint& fingerprint, ByteWriter& out);
Fingerprint ReadFingerprint(ByteReader& in);

// Without its passes.
void AddForward(const GroupStep& step, ByteWriter& out);
GroupStep ReadForward(const SessionConfig& config, ByteReader& in);

void AddBackward(const GroupBackward& backward, ByteWriter& out);
GroupBackward ReadBackward(std::uint32_t ranks, const SessionConfig& config,
                           ByteReader& in);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_GROUP_ROW_H_
