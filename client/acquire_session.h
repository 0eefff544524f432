// Internal. One acquisition of a session, however often it is sent: the nonce
// is made here, once a call, so that the retries below are not other writers.
#ifndef BATCHNORMD_CLIENT_ACQUIRE_SESSION_H_
#define BATCHNORMD_CLIENT_ACQUIRE_SESSION_H_

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/types.h"

namespace batchnorm::client {

// Thread-safe.
absl::StatusOr<AcquireSessionResult> AcquireSession(
    Connection& connection, const AcquireSessionArgs& args);

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_ACQUIRE_SESSION_H_
