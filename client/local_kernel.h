// Internal. Tensors of the library under the server's kernel: the sums of a
// shard, and y and dx from finished numbers. Pure functions, thread-safe.
//
// Finished numbers that are not one a channel break the contract: INTERNAL,
// naming the field.
#ifndef BATCHNORMD_CLIENT_LOCAL_KERNEL_H_
#define BATCHNORMD_CLIENT_LOCAL_KERNEL_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/types.h"
#include "server/kernel/batch_norm.h"

namespace batchnorm::client {

// As the server would have refused it.
absl::Status Refusal(absl::StatusCode code, std::string_view reason,
                     std::string_view field, std::string_view text);

// What the finished numbers are applied to.
struct Shard {
  Tensor x;
  kernel::ChannelLayout layout;
  std::vector<double> gamma;  // empty: ones
};

// INVALID_ARGUMENT `BAD_TENSOR`, `BAD_CHANNEL_AXES`, `WRONG_CHANNELS`.
absl::StatusOr<Shard> MakeShard(Tensor x, const std::optional<Tensor>& gamma,
                                const SessionConfig& config);

// A parameter as doubles; empty if it is absent.
absl::StatusOr<std::vector<double>> ParameterOf(
    const std::optional<Tensor>& tensor, std::string_view field,
    std::int64_t channels);

ForwardSums SumForward(const Shard& shard);
// INVALID_ARGUMENT `BAD_TENSOR` unless dy has x's shape.
absl::StatusOr<BackwardSums> SumBackward(const Shard& shard, const Tensor& dy);

// What the kernel applies. FAILED_PRECONDITION `OUT_OF_RANGE_FOR_SYNC`.
absl::StatusOr<kernel::Statistics> StatisticsOf(
    const BatchStatistics& statistics, std::int64_t channels);
absl::StatusOr<kernel::Gradients> GradientsOf(GradientStatistics gradients,
                                              std::int64_t channels);

Tensor Normalize(const Shard& shard, const kernel::Statistics& statistics,
                 const std::vector<double>& beta);
Tensor Differentiate(const Shard& shard, const Tensor& dy,
                     const kernel::Statistics& statistics,
                     const kernel::Gradients& gradients);

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_LOCAL_KERNEL_H_
