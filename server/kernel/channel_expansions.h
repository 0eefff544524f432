// The exact sums of many channels as expansions: a vector an order of
// magnitude, so that finishing has channels in SIMD lanes (fast_finish.h).
//
// A limb is a double below 2^200 in magnitude; the value of a channel is the
// exact total of its limbs, times a power of two. Limbs of D, P and Q are
// integers, those of S multiples of 2^-100. They may overlap, be out of order
// and differ in sign. Products of values that differ a lot in magnitude have
// more digits than three limbs: their rest is less than rest_of_... in
// magnitude, which is 0 where there is none.
// A unit of 0 marks a channel that does not fit, or holds NaN or Inf. Every row
// has one entry a channel. What is behind the last one is read, and ignored.
// Value types, thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "server/kernel/channel_sums.h"
#include "server/kernel/finish.h"

namespace batchnorm::kernel {

// No vector of channels is wider.
inline constexpr std::size_t kChannelPadding = 8;
// How many channels are expanded at a time: they stay in the first-level cache.
inline constexpr std::size_t kExpandedChannels = 128;

using ChannelRow = std::array<double, kExpandedChannels>;
using ChannelLimbs = std::array<ChannelRow, 3>;

struct ForwardExpansions {
  std::int64_t count = 0;      // n, alike in all channels
  ChannelLimbs sum;            // S, in units
  ChannelLimbs squares;        // Q, in units^2
  ChannelRow rest_of_squares;  // in units^2
  ChannelRow unit;             // a power of two, or 0
};

struct BackwardExpansions {
  ChannelLimbs sum_dy;          // D, in dy_units
  ChannelLimbs sum_dy_x;        // P, in product_units
  ChannelRow rest_of_sum_dy_x;  // in product_units
  ChannelRow dy_unit;           // powers of two, or 0
  ChannelRow product_unit;
};

// The sums of the range as expansions, over what was there: entry i is channel
// range.first + i. REQUIRES: range.size() <= kExpandedChannels.
void Expand(const ForwardSums& sums, ChannelRange range,
            ForwardExpansions& expansions);
void Expand(const BackwardSums& sums, ChannelRange range,
            BackwardExpansions& expansions);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_
