// Batch normalization and its gradients, per channel, from exact sums.
//
// One batch goes through three kinds of call:
//
//   sums    ForwardSums, BackwardSums: one pass over the elements of any part
//           of the batch, exact, mergeable, serialisable (channel_sums.h);
//   finish  exact sums -> the few numbers a channel that the apply pass reads,
//           each the exact real number rounded once (README.md, eq. 5-17);
//   apply   elementwise: y from x, dx from x and dy.
//
//   ChannelLayout layout(shape, axes);
//   ForwardSums sums(layout.channels(), x.dtype);
//   sums.Add(layout, 0, x);                          // or in parts, merged
//   Statistics statistics = FinishForward(sums, eps, Degenerate::kIeee);
//   ApplyForward(layout, 0, x, statistics, gamma, beta, y);
//
// Knows no gRPC, protobuf, threads or logging. Functions assert their
// preconditions and never throw; all are safe to call from any thread on
// distinct outputs. All of them compute in round-to-nearest with subnormals,
// whatever the caller's floating-point environment, and restore it.
#ifndef BATCHNORMD_SERVER_KERNEL_BATCH_NORM_H_
#define BATCHNORMD_SERVER_KERNEL_BATCH_NORM_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "server/kernel/channel_layout.h"
#include "server/kernel/channel_sums.h"
#include "server/kernel/tensor_view.h"
#include "server/kernel/workers.h"

namespace batchnorm::kernel {

// What normalizes a channel. Vectors have one entry a channel.
struct Statistics {
  std::int64_t count = 0;    // n; 0 where they are running statistics
  std::vector<double> mean;  // sum(x)/n, nearest; mean_lo is the rest
  std::vector<double> mean_lo;
  std::vector<double> var;      // population variance; +Inf above the range
  std::vector<double> inv_std;  // 1/sqrt(var+eps), nearest
  // x_hat = inv_std * (x - mean) is evaluated as
  // (inv_std * 2^-scale) * ((x - mean) * 2^scale). 0 unless inv_std or the
  // differences would leave the range of a double (f64 at 1e200 or 1e-310).
  std::vector<double> scaled_inv_std;  // inv_std * 2^-scale, nearest
  std::vector<double> scaled_mean_lo;  // (sum(x)/n - mean) * 2^scale, nearest
  std::vector<std::int32_t> scale;
};

// What Backward applies. mean_dy and k are 0 for inference.
struct Gradients {
  std::vector<double> dgamma;   // sum(dy * x_hat), nearest
  std::vector<double> dbeta;    // sum(dy), nearest
  std::vector<double> mean_dy;  // sum(dy)/n, nearest; mean_dy_lo is the rest
  std::vector<double> mean_dy_lo;
  std::vector<double> k;  // mean(dy*x_hat) * inv_std, times 2^-scale, nearest
};

// How channels that cannot be normalized are computed once they are allowed.
enum class Degenerate : std::uint8_t { kUnitCorrection, kIeee };

// Why a batch of these sums would be refused by a rejecting policy.
struct Degeneracy {
  enum class Kind : std::uint8_t { kTooFewValues, kZeroVariance };
  Kind kind;
  std::int64_t channel;  // the first such channel

  bool operator==(const Degeneracy&) const = default;
};

// n = 1 with running_ddof 1 (kTooFewValues), or var = 0 with eps = 0
// (kZeroVariance). Empty batches and non-finite channels are not degenerate.
std::optional<Degeneracy> FindDegeneracy(const ForwardSums& sums, double eps,
                                         int running_ddof);

// The flat offset of the first NaN or Inf of a tensor.
std::optional<std::int64_t> FindNonFinite(TensorView x);

// Eq. 5-8. A channel with NaN or Inf gets mean NaN or Inf, and var and inv_std
// NaN; an empty batch gets NaN everywhere.
// REQUIRES: the sums hold the whole batch; eps is finite and at least 0.
Statistics FinishForward(const ForwardSums& sums, double eps,
                         Degenerate degenerate,
                         Workers& workers = Workers::Inline());

// The statistics with which INFERENCE normalizes: mean and var as given.
Statistics FromRunning(std::span<const double> mean,
                       std::span<const double> var, double eps,
                       Degenerate degenerate);

// Eq. 9-12, for the gradient of a TRAIN forward.
// REQUIRES: both sums are over the same whole batch.
Gradients FinishBackward(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate,
                         Workers& workers = Workers::Inline());

// dgamma and dbeta of a whole batch over the number of ranks that took it, each
// rounded once from the exact value and not from the rounded sum.
// REQUIRES: `gradients` is FinishBackward of the other arguments; ranks >= 1.
void AverageOverRanks(const ForwardSums& forward, const BackwardSums& backward,
                      double eps, Degenerate degenerate, std::int64_t ranks,
                      Gradients& gradients);

// Eq. 13-14, for the gradient of an INFERENCE forward.
Gradients FinishInferenceBackward(const BackwardSums& backward,
                                  const Statistics& running, double eps,
                                  Degenerate degenerate);

// The average a batch enters.
struct RunningUpdate {
  // The weight of the new batch; empty means 1/batch_count, counted with it.
  std::optional<double> new_weight;
  int running_ddof = 1;
};

// Eq. 15-17: moves running mean and var by one batch; batch_count goes up by
// one. An empty batch changes nothing. Each result is rounded once.
void UpdateRunning(const ForwardSums& sums, const RunningUpdate& update,
                   Degenerate degenerate, std::span<double> mean,
                   std::span<double> var, std::int64_t& batch_count);

// FinishForward and UpdateRunning, for less than both take.
Statistics FinishForwardAndUpdate(const ForwardSums& sums, double eps,
                                  const RunningUpdate& update,
                                  Degenerate degenerate, std::span<double> mean,
                                  std::span<double> var,
                                  std::int64_t& batch_count);

// Eq. 18: y = (gamma*inv_std) * ((x - mean) - mean_lo) + beta, for the block of
// the tensor that begins at flat offset `first`. An empty gamma means ones, an
// empty beta zeros. y may be x (in place).
// REQUIRES: x.size() == y.size(); y has x's dtype.
void ApplyForward(const ChannelLayout& layout, std::int64_t first, TensorView x,
                  const Statistics& statistics, std::span<const double> gamma,
                  std::span<const double> beta, MutableTensorView y,
                  Workers& workers = Workers::Inline());

// Eq. 19: dx = (gamma*inv_std) * (((dy - mean_dy) - mean_dy_lo)
//                                 - ((x - mean) - mean_lo) * k).
// With running statistics (count 0) it is eq. 13, gamma*inv_std*dy, and x is
// not read. dx may be x or dy. REQUIRES: equal sizes; dx has x's dtype.
void ApplyBackward(const ChannelLayout& layout, std::int64_t first,
                   TensorView x, TensorView dy, const Statistics& statistics,
                   const Gradients& gradients, std::span<const double> gamma,
                   MutableTensorView dx, Workers& workers = Workers::Inline());

// A tensor's elements as doubles (exact for every dtype).
std::vector<double> ToDoubles(TensorView tensor);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_BATCH_NORM_H_
