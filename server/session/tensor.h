// A tensor that a call brought, and the checks every call makes of one.
#ifndef BATCHNORMD_SERVER_SESSION_TENSOR_H_
#define BATCHNORMD_SERVER_SESSION_TENSOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/kernel/channel_layout.h"
#include "server/kernel/tensor_view.h"

namespace batchnorm::session {

// The bytes are shared, so that keeping an input for Backward copies nothing.
struct Tensor {
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const std::string> data;

  kernel::TensorView view() const;
};

// "f32 [2,512]".
std::string Text(const Tensor& tensor);

// Rank 1 to 8, no negative size, the element and byte counts do not overflow,
// and data has exactly that many bytes. INVALID_ARGUMENT `BAD_TENSOR`, naming
// `field` + ".shape" or ".data", with what was expected and what came;
// RESOURCE_EXHAUSTED `TENSOR_TOO_LARGE` above `max_bytes`.
//
// Sizes of 0 are legal, but the product of the other sizes must fit as well:
// layouts count channels and values apart.
absl::Status CheckTensor(const Tensor& tensor, std::string_view field,
                         std::int64_t max_bytes);

// The layout of x under the channel axes (negative ones resolved).
// INVALID_ARGUMENT `BAD_CHANNEL_AXES`, or `WRONG_CHANNELS` above kMaxChannels
// (a channel costs memory even where it has no values), naming "x.shape".
// REQUIRES: CheckTensor passed.
absl::StatusOr<kernel::ChannelLayout> MakeLayout(
    const Tensor& x, const std::vector<std::int32_t>& channel_axes);

// A per-channel parameter as doubles; empty if it is absent (null).
// INVALID_ARGUMENT `WRONG_CHANNELS` if product(shape) is not `channels`.
// REQUIRES: CheckTensor passed.
absl::StatusOr<std::vector<double>> ChannelVector(const Tensor* parameter,
                                                  std::int64_t channels,
                                                  std::string_view field);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_TENSOR_H_
