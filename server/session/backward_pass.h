// The gradients of one step from x, gamma, the step's sums and dy. No function
// touches a session's state, so none needs its lock. Pure, safe from any
// thread.
#ifndef BATCHNORMD_SERVER_SESSION_BACKWARD_PASS_H_
#define BATCHNORMD_SERVER_SESSION_BACKWARD_PASS_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "server/kernel/workers.h"
#include "server/session/config.h"
#include "server/session/fingerprint.h"
#include "server/session/kept_input.h"
#include "server/session/session.h"

namespace batchnorm::session {

// The x and gamma of a Backward that brings them, checked and summed. NaN and
// Inf pass. INVALID_ARGUMENT as for a Forward of the same x and gamma.
absl::StatusOr<KeptInput> SumResentInput(const Tensor& x,
                                         const std::optional<Tensor>& gamma,
                                         const SessionConfig& config,
                                         const TensorLimits& limits,
                                         kernel::Workers& workers);

// The digest that the Forward of this input had.
Digest DigestOf(std::uint32_t rank, const KeptInput& input);

// INVALID_ARGUMENT `BAD_TENSOR` if dy has another shape than x,
// RESOURCE_EXHAUSTED `TOO_LARGE_FOR_UNARY`.
absl::StatusOr<BackwardResult> Differentiate(const KeptInput& input,
                                             const BackwardCall& call,
                                             const SessionConfig& config,
                                             const TensorLimits& limits,
                                             kernel::Workers& workers);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_BACKWARD_PASS_H_
