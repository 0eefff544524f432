// What can be said about a Forward or a Backward without looking at the
// session's state: the form of its tensors, their sizes, its arguments. Pure
// functions, safe from any thread; their cost is per channel.
#ifndef BATCHNORMD_SERVER_SESSION_CALL_CHECKS_H_
#define BATCHNORMD_SERVER_SESSION_CALL_CHECKS_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/kernel/channel_layout.h"
#include "server/session/config.h"
#include "server/session/session.h"

namespace batchnorm::session {

// x's layout, and gamma as doubles (empty: ones).
struct CheckedInput {
  kernel::ChannelLayout layout;
  std::vector<double> gamma;
};

struct CheckedForward {
  CheckedInput input;
  std::vector<double> beta;  // empty: zeros
};

// INVALID_ARGUMENT `BAD_RANK` unless it is below the world size.
absl::Status CheckRank(std::uint32_t rank, std::uint32_t world_size);

// INVALID_ARGUMENT `BAD_NEW_WEIGHT` unless it is finite.
absl::Status CheckNewWeight(std::optional<double> new_weight);

// INVALID_ARGUMENT `BAD_TENSOR`, `BAD_CHANNEL_AXES`, `WRONG_CHANNELS`,
// `BAD_NEW_WEIGHT`, `BAD_STEP`, RESOURCE_EXHAUSTED `TENSOR_TOO_LARGE`,
// `TOO_LARGE_FOR_UNARY`.
absl::StatusOr<CheckedForward> CheckForward(const ForwardCall& call,
                                            const SessionConfig& config,
                                            const TensorLimits& limits);

// As above, for all but x and gamma, which Backward may leave out; and
// `MISSING_INPUT` for a gamma without x.
absl::Status CheckBackward(const BackwardCall& call,
                           const TensorLimits& limits);

// As CheckForward, for x and gamma alone.
absl::StatusOr<CheckedInput> CheckInput(const Tensor& x,
                                        const std::optional<Tensor>& gamma,
                                        const SessionConfig& config,
                                        const TensorLimits& limits);

// INVALID_ARGUMENT `BAD_TENSOR` unless dy has x's shape.
absl::Status CheckGradientShape(const Tensor& dy, const Tensor& x);

// RESOURCE_EXHAUSTED `TOO_LARGE_FOR_UNARY` if the reply of a Backward for x
// would not fit a message.
absl::Status CheckBackwardReply(const Tensor& x, std::int64_t channels,
                                const TensorLimits& limits);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_CALL_CHECKS_H_
