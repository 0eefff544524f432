// A whole batch in one call: sums, finish and apply, fused.
//
// What the three calls of batch_norm.h give, to the last bit, in fewer passes
// over memory: where a block of channels fits the cache it is summed, finished
// and applied while it is there. Thread-safe on distinct outputs.
#ifndef BATCHNORMD_SERVER_KERNEL_TRAIN_H_
#define BATCHNORMD_SERVER_KERNEL_TRAIN_H_

#include <cstdint>
#include <span>

#include "server/kernel/batch_norm.h"
#include "server/kernel/workers.h"

namespace batchnorm::kernel {

// What a TRAIN forward leaves for its backward.
struct TrainBatch {
  // About what it takes in memory.
  static constexpr std::int64_t kBytesAChannel =
      sizeof(ChannelTotals) + sizeof(std::int64_t) + 6 * sizeof(double) +
      sizeof(std::int32_t);

  ForwardSums sums;
  Statistics statistics;
};

// ForwardSums::Add over the whole of x, FinishForward, ApplyForward.
// REQUIRES: as those; y does not overlap x.
TrainBatch TrainForward(const ChannelLayout& layout, TensorView x, double eps,
                        Degenerate degenerate, std::span<const double> gamma,
                        std::span<const double> beta, MutableTensorView y,
                        Workers& workers = Workers::Inline());

// BackwardSums::Add over the whole of x and dy, FinishBackward, ApplyBackward.
// `batch` is x's own. REQUIRES: as those; dx does not overlap x or dy.
Gradients TrainBackward(const ChannelLayout& layout, TensorView x,
                        TensorView dy, const TrainBatch& batch, double eps,
                        Degenerate degenerate, std::span<const double> gamma,
                        MutableTensorView dx,
                        Workers& workers = Workers::Inline());

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_TRAIN_H_
