// Configurations between the contract and the sessions. Functions are pure and
// thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_CONFIG_MAPPING_H_
#define BATCHNORMD_SERVER_RPC_CONFIG_MAPPING_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "batchnorm/v1/normalization.pb.h"
#include "batchnorm/v1/session.pb.h"
#include "server/session/config.h"

namespace batchnorm::rpc {

// INVALID_ARGUMENT `UNKNOWN_MODE`, naming "mode".
absl::StatusOr<session::Mode> FromProto(v1::Mode mode);

// Fills in the defaults. INVALID_ARGUMENT `BAD_CONFIG` for enum values that
// this build does not know and for `cumulative: false`, naming the field after
// `prefix`; session::Validate judges the numbers.
absl::StatusOr<session::Normalization> FromProto(
    const v1::Normalization& normalization, std::string_view prefix);

// As above, with the prefix "config.".
absl::StatusOr<session::SessionConfig> FromProto(
    const v1::SessionConfig& config);

v1::SessionConfig ToProto(const session::SessionConfig& config);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CONFIG_MAPPING_H_
