// The configuration of a layer and of a session, as the server holds it:
// defaults filled in, no protobuf. Value types.
#ifndef BATCHNORMD_SERVER_SESSION_CONFIG_H_
#define BATCHNORMD_SERVER_SESSION_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace batchnorm::session {

enum class Mode : std::uint8_t { kTrain, kInference };
enum class DegeneratePolicy : std::uint8_t { kReject, kUnitCorrection, kIeee };
enum class GradientReduction : std::uint8_t { kLocal, kSum, kMean };
enum class KeptInputPolicy : std::uint8_t { kKeep, kDiscard };
enum class NonFinitePolicy : std::uint8_t { kReject, kPropagate };

// Bounds the memory that one session takes: running statistics and exact sums
// are a few hundred bytes a channel.
inline constexpr std::int64_t kMaxChannels = std::int64_t{1} << 20;
inline constexpr std::uint32_t kMaxStepWindow = 256;
inline constexpr std::uint32_t kMaxWorldSize = 4096;
inline constexpr std::int32_t kMaxRank = 8;  // dimensions of a tensor

// batchnorm.v1.Normalization.
struct Normalization {
  std::vector<std::int32_t> channel_axes = {1};  // negative: from the end
  double eps = 1e-5;
  std::optional<double> new_weight = 0.1;  // empty: cumulative average
  std::uint32_t running_ddof = 1;
  DegeneratePolicy degenerate_policy = DegeneratePolicy::kReject;

  bool operator==(const Normalization&) const = default;
};

// batchnorm.v1.SessionConfig.
struct SessionConfig {
  std::int64_t channels = 0;
  Normalization normalization;
  std::uint32_t world_size = 1;
  std::uint32_t step_window = 8;
  GradientReduction gradient_reduction = GradientReduction::kLocal;
  KeptInputPolicy kept_input_policy = KeptInputPolicy::kKeep;
  NonFinitePolicy non_finite_policy = NonFinitePolicy::kReject;

  bool operator==(const SessionConfig&) const = default;
};

// INVALID_ARGUMENT `BAD_CONFIG` (or `BAD_CHANNEL_AXES`) naming the field:
// `prefix` is put before it, e.g. "config.normalization.".
absl::Status Validate(const Normalization& normalization,
                      std::string_view prefix);

// INVALID_ARGUMENT `BAD_CONFIG`, naming `field`.
absl::Status CheckWorldSize(std::uint32_t world_size, std::string_view field);

// All of the above.
absl::Status Validate(const SessionConfig& config);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_CONFIG_H_
