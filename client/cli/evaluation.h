// From tensors by role to a stateless call and back: shared by `bn eval` and
// `bn compare`. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_EVALUATION_H_
#define BATCHNORMD_CLIENT_CLI_EVALUATION_H_

#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/inputs.h"
#include "client/cli/named_tensor.h"
#include "client/cli/tensor_role.h"
#include "client/types.h"

namespace batchnorm::cli {

// Everything that the inputs allow: gradients with dy, running statistics where
// they were given and the mode is kTrain.
std::set<Role> AllowedResults(const client::EvaluateArgs& args);

// The service's words for the results.
std::vector<client::Output> OutputsFor(const std::set<Role>& results);

// x, gamma, beta, dy and running statistics of a call; the rest is left at its
// defaults. A diagnosis where x or one of the running statistics is missing.
absl::StatusOr<client::EvaluateArgs> ArgsOf(TensorsByRole tensors,
                                            std::int64_t batch_count);

// Moves the wanted results out, in the order of the roles. Per-channel vectors
// become f64 tensors of shape [channels].
std::vector<NamedTensor> TensorsOf(client::EvaluateResult result,
                                   const std::set<Role>& wanted);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_EVALUATION_H_
