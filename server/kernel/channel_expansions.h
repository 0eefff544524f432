// The exact sums of many channels as expansions: a vector an order of
// magnitude, so that finishing has channels in SIMD lanes (fast_finish.h).
//
// A limb is a double below 2^200 in magnitude; the value of a channel is the
// exact total of its limbs, times a power of two. Limbs of D, P and Q are
// integers, those of S multiples of 2^-100. They may overlap, be out of order
// and differ in sign. Products of values that differ a lot in magnitude have
// more digits than three limbs: their rest is less than rest_of_... in
// magnitude, which is 0 where there is none.
// A unit of 0 marks a channel that does not fit, or holds NaN or Inf, or that
// nobody filled in. Every vector has one entry a channel, and zeros up to a
// multiple of kChannelPadding.
// Value types, thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/kernel/channel_sums.h"
#include "server/kernel/finish.h"

namespace batchnorm::kernel {

inline constexpr std::size_t kChannelPadding = 8;

struct ForwardExpansions {
  std::int64_t count = 0;                      // n, alike in all channels
  std::array<std::vector<double>, 3> sum;      // S, in units
  std::array<std::vector<double>, 3> squares;  // Q, in units^2
  std::vector<double> rest_of_squares;         // in units^2
  std::vector<double> unit;                    // a power of two, or 0

  // Room for that many channels, all of which do not fit yet. Keeps its memory.
  void Reset(std::size_t channels);
};

struct BackwardExpansions {
  std::array<std::vector<double>, 3> sum_dy;    // D, in dy_units
  std::array<std::vector<double>, 3> sum_dy_x;  // P, in product_units
  std::vector<double> rest_of_sum_dy_x;         // in product_units
  std::vector<double> dy_unit;                  // powers of two, or 0
  std::vector<double> product_unit;

  void Reset(std::size_t channels);
};

// The sums of the range as expansions, over what was there: entry i is channel
// range.first + i.
void Expand(const ForwardSums& sums, ChannelRange range,
            ForwardExpansions& expansions);
void Expand(const BackwardSums& sums, ChannelRange range,
            BackwardExpansions& expansions);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_EXPANSIONS_H_
