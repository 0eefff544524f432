// The numbers a channel that the apply passes read. Thread-safe on distinct
// channels.
#ifndef BATCHNORMD_SERVER_KERNEL_COEFFICIENTS_H_
#define BATCHNORMD_SERVER_KERNEL_COEFFICIENTS_H_

#include <cstddef>
#include <span>

#include "server/kernel/batch_norm.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/finish.h"

namespace batchnorm::kernel {

// Room for all of a tensor's channels.
Coefficients ForwardRoom(std::size_t channels);
Coefficients BackwardRoom(std::size_t channels);

// Fills the range. An empty gamma means ones, an empty beta zeros.
void SetForward(const Statistics& statistics, std::span<const double> gamma,
                std::span<const double> beta, ChannelRange range,
                Coefficients& coefficients);
void SetBackward(const Statistics& statistics, const Gradients& gradients,
                 std::span<const double> gamma, ChannelRange range,
                 Coefficients& coefficients);

// Whether the fast passes take the range: its scales are 0.
bool AreUnscaled(const Statistics& statistics, ChannelRange range);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_COEFFICIENTS_H_
