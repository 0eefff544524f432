// Sums of a box whose channels have many columns each, as NCHW with large
// planes: a channel at a time, its accumulators in registers.
#if defined(BATCHNORMD_SERVER_KERNEL_SUM_RUNS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_SUM_RUNS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_SUM_RUNS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_SUM_RUNS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "server/kernel/box.h"
#include "server/kernel/certified_block-inl.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/prediction.h"
#include "server/kernel/spilled_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Adds units of the six accumulators to a channel's integers.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void AddUnits(const ChannelTotals::Wide* units,
                         ChannelTotals& channel) {
  using P = ProductCertificate<kDtype, kSquares>;
  using Wide = ChannelTotals::Wide;
  const auto times = [](Wide value, int shift)
                         HWY_ATTR { return value * (Wide{1} << shift); };
  if constexpr (Certificate<kDtype>::kWide) {
    channel.Add(times(units[0], P::kSumShift) + units[3], units[1],
                times(units[2], P::kRestShift) +
                    times(units[4], P::kErrorShift) + units[5]);
  } else {
    channel.Add(units[0], units[1], units[2]);
  }
}

// Each of two sets gains less than 2^52 a block: so many blocks of all lanes
// together less than 2^63.
inline constexpr int kBlocksUntilDrain = (1 << 9) / int{kMaxLanes};

template <Dtype kDtype, bool kSquares>
HWY_INLINE void DrainLanes(LaneTotals& totals, ChannelTotals& channel) {
  const IntegerTag di;
  ChannelTotals::Wide units[kSums] = {};
  for (std::size_t k = 0; k < kSumsOf<kDtype>; ++k) {
    units[k] = hn::GetLane(hn::SumOfLanes(di, hn::Load(di, totals.units[k])));
  }
  ClearLanes<kDtype>(totals);
  AddUnits<kDtype, kSquares>(units, channel);
}

// Elements that were not certified, of which a scan found this.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void SpillElements(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                              std::size_t size,
                              const BlockExtremes<kDtype>& found,
                              ChannelTotals& channel) {
  const Magnitudes greatest =
      AddSpilledBlock<kDtype, kSquares>(a, b, size, found, channel);
  channel.Rescale(BetterScale<kDtype, kSquares, kBoundedBy<kDtype, kSquares>>(
      greatest, channel.scale));
}

// A block that was not certified: several rows are put together.
template <Dtype kDtype, bool kSquares>
HWY_NOINLINE void SpillRows(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                            const Rows& block,
                            const BlockExtremes<kDtype>& found,
                            ChannelTotals& channel) {
  if (block.rows == 1) {
    return SpillElements<kDtype, kSquares>(a, b, block.length, found, channel);
  }
  HWY_ALIGN BitsOf<kDtype> a_values[kSliceBlock];
  HWY_ALIGN BitsOf<kDtype> b_values[kSliceBlock];
  const std::size_t bytes = block.length * sizeof(*a);
  for (std::size_t row = 0; row < block.rows; ++row) {
    std::memcpy(a_values + row * block.length, a, bytes);
    if constexpr (!kSquares) {
      std::memcpy(b_values + row * block.length, b, bytes);
    }
    a += block.stride;
    b += block.stride;
  }
  SpillElements<kDtype, kSquares>(a_values, kSquares ? a_values : b_values,
                                  block.rows * block.length, found, channel);
}

// Every how many elements of a row a line of what follows is fetched: the rest
// of the row, or the next channel.
template <Dtype kDtype, bool kSquares>
HWY_INLINE std::size_t FetchedEvery(std::size_t length, bool from_memory) {
  constexpr std::size_t kLine = kLineBytes / sizeof(BitsOf<kDtype>);
  // Shorter rows are over before the machine sees that they go on.
  constexpr std::size_t kLongRow = 512;
  const bool is_cut = BlockRows<kDtype>(length) == 0;
  if (kSquares || is_cut || (from_memory && length < kLongRow)) return kLine;
  // Of two tensors in part: the rest is fetched while this channel is applied.
  return 4 * kLine;
}

// The blocks of one channel.
template <Dtype kDtype, bool kSquares>
class ChannelRun {
 public:
  using P = ProductCertificate<kDtype, kSquares>;

  ChannelRun(std::size_t fetched_every, ChannelTotals& channel)
      : fetched_every_(fetched_every),
        channel_(channel),
        scale_(P::Scale(channel.scale.top, channel.scale.other_top)) {
    ClearLanes<kDtype>(totals_);
    is_doubtful_ = IsBeyondProbes();
    WatchFlagOf<kDtype, kSquares>();
  }
  ~ChannelRun() { DrainLanes<kDtype, kSquares>(totals_, channel_); }

  HWY_INLINE void Add(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                      const Rows& block) {
    if (is_doubtful_) return AddDoubtful(a, b, block);
    if (kUpperMayDo<kDtype, kSquares> && upper_.IsDue() &&
        AddUpper(a, b, block)) {
      return;
    }
    if (HWY_LIKELY(AddCertified(a, b, block))) return CountBlock();
    Spill(a, b, block, ScanSpilled<kDtype, kSquares>(a, b, block));
  }

 private:
  HWY_INLINE bool AddCertified(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                               const Rows& block) {
    return AddCertifiedBlock<kDtype, kSquares>(a, b, block, scale_,
                                               fetched_every_, totals_);
  }

  // Whether elements have to be scanned all the same.
  bool IsBeyondProbes() const {
    return kProbesUnits<kDtype> && !scale_.is_probed;
  }

  // After a block that was not certified: looked at first.
  HWY_NOINLINE void AddDoubtful(const BitsOf<kDtype>* a,
                                const BitsOf<kDtype>* b, const Rows& block) {
    const auto found = ScanBoth<kDtype, kSquares>(a, b, block);
    if (!AreCertified<kDtype, kSquares>(found.a, found.b, scale_) ||
        !AddCertified(a, b, block)) {
      return Spill(a, b, block, found);
    }
    is_doubtful_ = IsBeyondProbes();
    CountBlock();
  }

  HWY_NOINLINE void Spill(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                          const Rows& block,
                          const BlockExtremes<kDtype>& found) {
    DrainLanes<kDtype, kSquares>(totals_, channel_);
    blocks_ = 0;
    SpillRows<kDtype, kSquares>(a, b, block, found, channel_);
    scale_ = P::Scale(channel_.scale.top, channel_.scale.other_top);
    is_doubtful_ = true;
    WatchFlagOf<kDtype, kSquares>();
  }

  HWY_INLINE void CountBlock() {
    if (++blocks_ < kBlocksUntilDrain) return;
    DrainLanes<kDtype, kSquares>(totals_, channel_);
    blocks_ = 0;
  }

  HWY_INLINE bool AddUpper(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                           const Rows& block) {
    // Two slices raise the flag where they cannot be quiet.
    if constexpr (!kSeesInexact) WatchFlagOf<kDtype, kSquares>();
    if (AddCertifiedBlock<kDtype, kSquares, Slices::kUpper>(
            a, b, block, scale_, fetched_every_, totals_)) {
      upper_.Did();
      CountBlock();
      return true;
    }
    upper_.DidNot();
    WatchFlagOf<kDtype, kSquares>();
    return false;
  }

  const std::size_t fetched_every_;
  ChannelTotals& channel_;
  LaneScale<kDtype> scale_;
  LaneTotals totals_;
  int blocks_ = 0;
  bool is_doubtful_;  // the last block was not certified, or beyond probes
  UpperTries upper_;
};

// Adds rows of elements of one channel, in blocks of several short rows or of
// part of a long one.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void AddChannelRows(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                               const Rows& rows, bool from_memory,
                               ChannelTotals& channel) {
  ChannelRun<kDtype, kSquares> run(
      FetchedEvery<kDtype, kSquares>(rows.length, from_memory), channel);
  const std::size_t block_rows = BlockRows<kDtype>(rows.length);
  if (block_rows > 0) {
    for (std::size_t row = 0; row < rows.rows; row += block_rows) {
      const auto at = static_cast<std::int64_t>(row) * rows.stride;
      run.Add(
          a + at, b + at,
          {std::min(block_rows, rows.rows - row), rows.stride, rows.length});
    }
    return;
  }
  const std::size_t block_size = BlockSize<kDtype>();
  for (std::size_t row = 0; row < rows.rows; ++row) {
    for (std::size_t at = 0; at < rows.length; at += block_size) {
      run.Add(a + at, b + at, {1, 0, std::min(block_size, rows.length - at)});
    }
    a += rows.stride;
    b += rows.stride;
  }
}

// All of a channel, then the next one.
template <Dtype kDtype, bool kSquares>
HWY_NOINLINE void SumChannelByChannel(const BitsOf<kDtype>* a,
                                      const BitsOf<kDtype>* b, bool from_memory,
                                      const Box& box, ChannelTotals* channels) {
  for (const auto& [channel, column, columns] : EachChannel(box)) {
    AddChannelRows<kDtype, kSquares>(
        a + box.offset + column, b + box.offset + column,
        {static_cast<std::size_t>(box.rows), box.row_stride,
         static_cast<std::size_t>(columns)},
        from_memory, channels[channel]);
  }
}

// How many rows of short ones of two tensors are added before the next
// channel's are: a block; 0: all. Each row is in a page of its own, of each
// tensor, and the processor knows where some dozen pages are: those of a few
// rows, if the next channel's come next, but not of all of a channel's.
template <Dtype kDtype, bool kSquares>
HWY_INLINE std::int64_t RowsOfATurn(const Box& box) {
  const auto rows = static_cast<std::int64_t>(
      BlockRows<kDtype>(static_cast<std::size_t>(box.inner)));
  const bool take_turns =
      !kSquares && rows > 1 && rows < box.rows && box.columns > box.inner;
  return take_turns ? rows : 0;
}

// Channels that take turns: what is known of them shares the first-level cache
// with their rows.
inline constexpr std::int64_t kChannelsInTurn = 32;

// A block of `turn_rows` rows of each channel, then the next one of each.
// REQUIRES: at most kChannelsInTurn * inner columns, which are not folded.
template <Dtype kDtype, bool kSquares>
HWY_NOINLINE void SumInTurns(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                             bool from_memory, std::int64_t turn_rows,
                             const Box& box, ChannelTotals* channels) {
  // The first and the last one may be parts of channels.
  std::optional<ChannelRun<kDtype, kSquares>> runs[kChannelsInTurn + 1];
  std::size_t k = 0;
  for (const auto& [channel, column, columns] : EachChannel(box)) {
    const auto length = static_cast<std::size_t>(columns);
    runs[k++].emplace(FetchedEvery<kDtype, kSquares>(length, from_memory),
                      channels[channel]);
  }
  for (std::int64_t row = 0; row < box.rows; row += turn_rows) {
    const auto rows =
        static_cast<std::size_t>(std::min(turn_rows, box.rows - row));
    k = 0;
    for (const auto& [channel, column, columns] : EachChannel(box)) {
      // NOLINTNEXTLINE(bugprone-unchecked-optional-access): emplaced above
      ChannelRun<kDtype, kSquares>& run = *runs[k++];
      const std::int64_t offset = box.offset + row * box.row_stride + column;
      run.Add(a + offset, b + offset,
              {rows, box.row_stride, static_cast<std::size_t>(columns)});
    }
  }
}

template <Dtype kDtype, bool kSquares>
void SumRuns(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b, bool from_memory,
             const Box& box, ChannelTotals* channels) {
  const std::int64_t turn_rows = RowsOfATurn<kDtype, kSquares>(box);
  if (turn_rows == 0) {
    return SumChannelByChannel<kDtype, kSquares>(a, b, from_memory, box,
                                                 channels);
  }
  const std::int64_t width = kChannelsInTurn * box.inner;
  for (std::int64_t column = 0; column < box.columns; column += width) {
    const Box part = box.Columns(column, std::min(width, box.columns - column));
    SumInTurns<kDtype, kSquares>(a, b, from_memory, turn_rows, part, channels);
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_SUM_RUNS_INL_H_
