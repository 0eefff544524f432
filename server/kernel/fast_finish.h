// Finishing (eq. 5-12, 15-17) with channels in SIMD lanes.
//
// Each function computes in double-double within a proven relative error and
// keeps a result only if every number within that error rounds to it. So what
// it is certain of has the bits of the readable code, on every target; where it
// is not, the readable code decides (finishing.md).
//
// `certain` gets 1 for a channel that is finished, 0 for one that is not: that
// one's results are left as they were or hold anything, as each function says.
// Never certain are channels without a unit, with a scale that is not 0, of
// 2^53 values or more, or near the ends of the range of a double.
// Thread-safe on distinct outputs. REQUIRES: a FloatingPointScope is open.
#ifndef BATCHNORMD_SERVER_KERNEL_FAST_FINISH_H_
#define BATCHNORMD_SERVER_KERNEL_FAST_FINISH_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/finish.h"

namespace batchnorm::kernel {

// Eq. 5-8 of the range, but for the count. Entry i of the expansions, and of
// `certain`, is channel range.first + i. What is not certain holds anything.
// REQUIRES: certain.size() == range.size(); eps is finite and at least 0.
void FastFinishForward(const ForwardExpansions& expansions, double eps,
                       ChannelRange range, Statistics& statistics,
                       std::span<std::uint8_t> certain);

// Eq. 9-12, likewise.
void FastFinishBackward(const ForwardExpansions& forward,
                        const BackwardExpansions& backward, double eps,
                        ChannelRange range, Gradients& gradients,
                        std::span<std::uint8_t> certain);

// Eq. 15-17: moves running mean and var by the batch, which is the
// batch_count-th. Entry i of everything is one channel. What is not certain
// stays as it was, mean and var together.
void FastUpdateRunning(const ForwardExpansions& expansions,
                       const RunningUpdate& update, Degenerate degenerate,
                       std::int64_t batch_count, std::span<double> mean,
                       std::span<double> var, std::span<std::uint8_t> certain);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FAST_FINISH_H_
