// What a rank of a group does with the elements of its shard: sums before the
// barrier, y and dx after it. No function touches a session's state, so none
// needs its lock. Pure, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_GROUP_PASS_H_
#define BATCHNORMD_SERVER_SESSION_GROUP_PASS_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "server/kernel/workers.h"
#include "server/session/call_checks.h"
#include "server/session/group_step.h"
#include "server/session/kept_input.h"
#include "server/session/session.h"

namespace batchnorm::session {

// One rank's part of a TRAIN Forward. It may be empty. Of a Sync there are only
// the sums.
struct ForwardShard {
  ForwardCall call;
  std::shared_ptr<const CheckedForward> checked;
  kernel::ForwardSums sums;  // of the shard, until it arrives
  Fingerprint fingerprint;
  std::optional<double> new_weight;  // in force; empty: cumulative
};

// One rank's part of a Backward.
struct BackwardShard {
  BackwardCall call;
  // Of the step, with its whole batch. Null of a Sync.
  std::shared_ptr<const KeptInput> input;
  // Of the shard; once it has arrived only where each rank gets gradients of
  // its own.
  kernel::BackwardSums sums;
  Digest digest;  // of dy
};

// INVALID_ARGUMENT as CheckForward, and `NON_FINITE_INPUT`.
absl::StatusOr<ForwardShard> SumForward(ForwardCall call,
                                        const SessionConfig& config,
                                        const TensorLimits& limits,
                                        kernel::Workers& workers);

// The input as it is kept once the whole batch is known.
std::shared_ptr<const KeptInput> InputOf(
    const ForwardShard& shard, std::shared_ptr<const kernel::TrainBatch> batch);

// The x and gamma of a Backward that brings them, and what their Forward's
// digest was.
struct ResentShard {
  KeptInput input;  // without a batch
  Digest digest;
};
absl::StatusOr<ResentShard> SumResent(const BackwardCall& call, const Tensor& x,
                                      const SessionConfig& config,
                                      const TensorLimits& limits,
                                      kernel::Workers& workers);

// INVALID_ARGUMENT `BAD_TENSOR` if dy has another shape than x,
// RESOURCE_EXHAUSTED `TOO_LARGE_FOR_UNARY`.
absl::StatusOr<BackwardShard> SumBackward(
    BackwardCall call, std::shared_ptr<const KeptInput> input,
    const SessionConfig& config, const TensorLimits& limits,
    kernel::Workers& workers);

// The parts that a Sync brings. INVALID_ARGUMENT `BAD_SUMS`,
// `NON_FINITE_INPUT`, `BAD_NEW_WEIGHT`.
absl::StatusOr<ForwardShard> TakeForwardSums(SyncCall call,
                                             const SessionConfig& config);
absl::StatusOr<BackwardShard> TakeBackwardSums(SyncCall call,
                                               const SessionConfig& config);

// y, and the statistics of the whole batch.
ForwardResult NormalizeShard(const ForwardShard& shard, const GroupStep& step,
                             kernel::Workers& workers);

// dx, and dgamma and dbeta as the configuration reduces them. REQUIRES: the
// step has the call's pass.
BackwardResult DifferentiateShard(const BackwardShard& shard,
                                  const GroupStep& step,
                                  const SessionConfig& config,
                                  kernel::Workers& workers);

// The finished numbers alone.
SyncResult ResultOf(const ForwardShard& shard, const GroupStep& step);
SyncResult ResultOf(const BackwardShard& shard, const GroupStep& step,
                    const SessionConfig& config);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_GROUP_PASS_H_
