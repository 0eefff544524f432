// The integers of channel totals in SIMD lanes: made of the halves that a block
// of limbs adds up to (limb_block.h), merged, and cut into the limbs of
// expansions (channel_expansions.h). Exact. Thread-safe on distinct outputs.
#ifndef BATCHNORMD_SERVER_KERNEL_FAST_TOTALS_H_
#define BATCHNORMD_SERVER_KERNEL_FAST_TOTALS_H_

#include <array>
#include <cstdint>
#include <span>

#include "server/kernel/channel_totals.h"
#include "server/kernel/fast_limbs.h"

namespace batchnorm::kernel {

// Gives totals, which are zeros, their integers at the scale, with narrow
// values: top and rest both small, so that many can be merged. Entry i of
// everything is one channel.
void SetIntegers(const TotalsScale& scale, const Halves& sum,
                 const Halves& products, std::span<ChannelTotals> totals);

// Whether n*Q >= S*S for certain in all channels, for integers whose unit of
// squares is that of sums, twice: true nearly always where it holds.
bool AreClearlyOfNumbers(std::int64_t count, const Halves& sum,
                         const Halves& squares);

// ChannelTotals::Merge of each channel's part.
void MergeTotals(std::span<const ChannelTotals> parts,
                 std::span<ChannelTotals> totals);

// Cuts the integers into limbs below 2^53 times 1, 2^52 and 2^104. False, and
// anything stored, if one of them is too large for that. Rows have room for a
// multiple of 8. REQUIRES: all totals are of this kind, which is a narrow one.
bool CutIntegers(SumKind kind, std::span<const ChannelTotals> totals,
                 const std::array<double*, 2>& sum,
                 const std::array<double*, 3>& products);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FAST_TOTALS_H_
