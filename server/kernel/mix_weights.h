// The weights of eq. 15 as unevaluated sums of two doubles. Thread-safe.
// REQUIRES: a FloatingPointScope is open.
#ifndef BATCHNORMD_SERVER_KERNEL_MIX_WEIGHTS_H_
#define BATCHNORMD_SERVER_KERNEL_MIX_WEIGHTS_H_

#include <cstdint>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel {

struct MixWeights {
  // Of the batch_count-th batch, which is below 2^53. Each pair is within
  // 2^-106 of its weight.
  static MixWeights Of(const RunningUpdate& update, std::int64_t batch_count);

  // Whether products with ordinary numbers stay ordinary.
  bool IsInRange() const;
  // Whether the average becomes the batch's value.
  bool Replaces() const { return kept == 0 && batch == 1; }

  double batch;  // w
  double batch_lo;
  double kept;  // 1 - w
  double kept_lo;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_MIX_WEIGHTS_H_
