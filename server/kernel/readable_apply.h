// Eq. 18 and 19 written out, an element at a time: the reference of the fast
// passes, and what they leave to it (channels whose scale is not 0).
// Arguments are those of ApplyForward and ApplyBackward. Thread-safe on
// distinct outputs.
#ifndef BATCHNORMD_SERVER_KERNEL_READABLE_APPLY_H_
#define BATCHNORMD_SERVER_KERNEL_READABLE_APPLY_H_

#include <cstdint>
#include <span>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel::readable {

void ApplyForward(const ChannelLayout& layout, std::int64_t first, TensorView x,
                  const Statistics& statistics, std::span<const double> gamma,
                  std::span<const double> beta, MutableTensorView y);

void ApplyBackward(const ChannelLayout& layout, std::int64_t first,
                   TensorView x, TensorView dy, const Statistics& statistics,
                   const Gradients& gradients, std::span<const double> gamma,
                   MutableTensorView dx);

}  // namespace batchnorm::kernel::readable

#endif  // BATCHNORMD_SERVER_KERNEL_READABLE_APPLY_H_
