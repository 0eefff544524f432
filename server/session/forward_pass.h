// What a Forward does with the elements of x. It does not touch a session's
// state, so it does not need its lock. Pure functions, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_
#define BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/kernel/train.h"
#include "server/session/call_checks.h"
#include "server/session/config.h"
#include "server/session/fingerprint.h"
#include "server/session/kept_input.h"
#include "server/session/session.h"

namespace batchnorm::session {

// The batch of a TRAIN Forward, summed, finished and normalized. All that
// taking a step reads of it is per channel, but for `kept`, which shares x.
struct Batch {
  Fingerprint fingerprint;
  std::shared_ptr<const kernel::TrainBatch> batch;
  std::string y;                          // the bytes
  std::optional<double> new_weight;       // in force; empty: cumulative
  std::shared_ptr<const KeptInput> kept;  // null where policy discards x
};

// INVALID_ARGUMENT `NON_FINITE_INPUT`, `TOO_FEW_VALUES`, `ZERO_VARIANCE`, as
// the policies say.
absl::StatusOr<Batch> NormalizeBatch(const ForwardCall& call,
                                     const CheckedForward& checked,
                                     const SessionConfig& config,
                                     kernel::Workers& workers);

// The bytes of y, from running statistics.
std::string Normalize(const Tensor& x, const CheckedForward& checked,
                      const kernel::Statistics& statistics,
                      kernel::Workers& workers);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_FORWARD_PASS_H_
