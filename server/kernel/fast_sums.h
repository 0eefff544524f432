// The certified sums of a box, by the best instructions this machine has.
//
// README.md, "Exact at memory speed". Adds to the totals of the box's channels,
// `channels[0]` being that of channel 0 of the tensor. Distinct channels may be
// added to from several threads at once. A channel without a scale gets one
// from a sample. REQUIRES: a FloatingPointScope; other scales are of this
// dtype.
#ifndef BATCHNORMD_SERVER_KERNEL_FAST_SUMS_H_
#define BATCHNORMD_SERVER_KERNEL_FAST_SUMS_H_

#include "server/kernel/box.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/tensor_view.h"

namespace batchnorm::kernel {

// Sums of x and x*x. `x` holds the whole tensor or any part: box.offset counts
// from its first element.
void AddForwardBox(TensorView x, const Box& box, ChannelTotals* channels);

// Sums of dy and dy*x. REQUIRES: equal dtypes and sizes.
void AddBackwardBox(TensorView x, TensorView dy, const Box& box,
                    ChannelTotals* channels);

// Only the scales: the same for all parts of a box that are summed apart, so
// that merging them is adding integers.
void PredictForwardBox(TensorView x, const Box& box, ChannelTotals* channels);
void PredictBackwardBox(TensorView x, TensorView dy, const Box& box,
                        ChannelTotals* channels);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FAST_SUMS_H_
