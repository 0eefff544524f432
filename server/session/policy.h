// The session's policies applied to a batch: what is refused, and how the
// kernel computes what is not. Pure functions, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_POLICY_H_
#define BATCHNORMD_SERVER_SESSION_POLICY_H_

#include <span>

#include "absl/status/status.h"
#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_layout.h"
#include "server/session/config.h"
#include "server/session/tensor.h"

namespace batchnorm::session {

// How channels are computed that the policy lets pass.
kernel::Degenerate ToKernel(DegeneratePolicy policy);

// INVALID_ARGUMENT `NON_FINITE_INPUT`, naming the channel and the index of the
// first NaN or Inf. `statistics` are those of x.
absl::Status RefuseNonFinite(const Tensor& x,
                             const kernel::ChannelLayout& layout,
                             const kernel::Statistics& statistics);

// The same, where only the sums of x are known.
absl::Status RefuseNonFinite(const Tensor& x,
                             const kernel::ChannelLayout& layout,
                             const kernel::ForwardSums& sums);

// INVALID_ARGUMENT `TOO_FEW_VALUES` or `ZERO_VARIANCE` where the policy is
// kReject, naming the first such channel.
absl::Status RefuseDegenerate(const kernel::ForwardSums& sums,
                              const Normalization& normalization);

// The same for INFERENCE, whose running variance can also have become negative
// (a new_weight outside [0, 1]): `ZERO_VARIANCE` unless var >= 0 and
// var + eps > 0. NaN passes, as every non-finite number of INFERENCE.
absl::Status RefuseRunning(std::span<const double> running_var,
                           const Normalization& normalization);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_POLICY_H_
