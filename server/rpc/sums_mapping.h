// The sums of a Sync. INVALID_ARGUMENT `BAD_SUMS`, naming the field. Functions
// are pure and thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_SUMS_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_SUMS_MAPPING_H_

#include "absl/status/statusor.h"
#include "batchnorm/v1/group.pb.h"
#include "server/kernel/channel_sums.h"
#include "server/session/fingerprint.h"

namespace batchnorm::rpc {

absl::StatusOr<kernel::ForwardSums> FromProto(const v1::ForwardSums& sums);
absl::StatusOr<kernel::BackwardSums> FromProto(const v1::BackwardSums& sums);

// Of the rank and its sums as they came.
session::Digest DigestOf(std::uint32_t rank, const v1::ForwardSums& sums);
session::Digest DigestOf(std::uint32_t rank, const v1::BackwardSums& sums);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_SUMS_MAPPING_H_
