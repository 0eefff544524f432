// The two passes of a Forward over the elements of x: the one that sums, and
// the one that writes y. Neither touches a session's state, so neither needs
// its lock. Pure functions, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_
#define BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/kernel/batch_norm.h"
#include "server/session/call_checks.h"
#include "server/session/config.h"
#include "server/session/fingerprint.h"
#include "server/session/kept_input.h"
#include "server/session/session.h"

namespace batchnorm::session {

// The batch of a TRAIN Forward, summed and finished: all that taking a step
// reads of it. Its size is per channel, but for `kept`, which shares x.
struct Batch {
  Fingerprint fingerprint;
  kernel::ForwardSums sums;
  kernel::Statistics statistics;
  std::optional<double> new_weight;       // in force; empty: cumulative
  std::shared_ptr<const KeptInput> kept;  // null where policy discards x
};

// INVALID_ARGUMENT `NON_FINITE_INPUT`, `TOO_FEW_VALUES`, `ZERO_VARIANCE`, as
// the policies say.
absl::StatusOr<Batch> SumBatch(const ForwardCall& call,
                               const CheckedForward& checked,
                               const SessionConfig& config);

// The bytes of y.
std::string Normalize(const Tensor& x, const CheckedForward& checked,
                      const kernel::Statistics& statistics);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_
