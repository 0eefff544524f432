// Finishing part of a tensor's channels. Thread-safe on distinct ranges.
// REQUIRES: a FloatingPointScope.
#ifndef BATCHNORMD_SERVER_KERNEL_FINISH_H_
#define BATCHNORMD_SERVER_KERNEL_FINISH_H_

#include <cstddef>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel {

// Channels [first, end).
struct ChannelRange {
  std::size_t first;
  std::size_t end;

  std::size_t size() const { return end - first; }
};

// Room for all channels, to be filled range by range.
Statistics StatisticsRoom(std::size_t channels);
Gradients GradientsRoom(std::size_t channels);

// FinishForward of the range.
void FinishForwardRange(const ForwardSums& sums, double eps,
                        Degenerate degenerate, ChannelRange range,
                        Statistics& statistics);

// FinishBackward of the range.
void FinishBackwardRange(const ForwardSums& forward,
                         const BackwardSums& backward, double eps,
                         Degenerate degenerate, ChannelRange range,
                         Gradients& gradients);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FINISH_H_
