// Eq. 5-12 and 15-17 written out in exact arithmetic, a channel at a time: the
// reference of the fast finishing, and what decides where that is not certain.
// Arguments are those of FinishForward, FinishBackward and UpdateRunning; the
// results are the entries of one channel. Thread-safe on distinct channels.
// REQUIRES: a FloatingPointScope is open.
#ifndef BATCHNORMD_SERVER_KERNEL_READABLE_FINISH_H_
#define BATCHNORMD_SERVER_KERNEL_READABLE_FINISH_H_

#include <cstddef>
#include <cstdint>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel::readable {

void FinishForward(const ForwardSums& sums, double eps, Degenerate degenerate,
                   std::size_t channel, Statistics& statistics);

void FinishBackward(const ForwardSums& forward, const BackwardSums& backward,
                    double eps, Degenerate degenerate, std::size_t channel,
                    Gradients& gradients);

void AverageOverRanks(const ForwardSums& forward, const BackwardSums& backward,
                      double eps, Degenerate degenerate, std::int64_t ranks,
                      std::size_t channel, double& dgamma, double& dbeta);

// batch_count is counted with this batch. REQUIRES: the batch is not empty.
void UpdateRunning(const ForwardSums& sums, const RunningUpdate& update,
                   Degenerate degenerate, std::int64_t batch_count,
                   std::size_t channel, double& mean, double& var);

}  // namespace batchnorm::kernel::readable

#endif  // BATCHNORMD_SERVER_KERNEL_READABLE_FINISH_H_
