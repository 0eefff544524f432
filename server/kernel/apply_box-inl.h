// The apply passes over the rows of a box, with stores past the caches where
// the output will not be read soon.
#if defined(BATCHNORMD_SERVER_KERNEL_APPLY_BOX_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_APPLY_BOX_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_APPLY_BOX_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_APPLY_BOX_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/apply_segment-inl.h"
#include "server/kernel/box.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/interval_apply-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Elements that go through the buffer at a time.
inline constexpr std::int64_t kChunk = 4096;
// Columns whose coefficients stay in the first-level cache.
inline constexpr std::int64_t kCoefficientColumns = 512;
// Short rows are folded to as many, whose coefficients leave more of the first
// level to the tensors.
inline constexpr std::int64_t kFoldedColumns = 256;
// The same of rows that come from memory, where half a KiB is too short.
inline constexpr std::int64_t kFoldedBytes = 1024;
// Below this many columns a channel, lanes hold columns of several channels:
// that spares what each segment begins and ends with. The more so where several
// rows can share what is loaded of their columns' coefficients.
inline constexpr std::int64_t kSegmentColumns = 16;
inline constexpr std::int64_t kSharedSegmentColumns = 64;
// From this many columns in a segment or row on, results need no buffer on
// their way past the caches. (Segments begin anywhere within a line, most rows
// where one begins.)
inline constexpr std::int64_t kStreamedSegment = 512;
inline constexpr std::int64_t kStreamedRow = 128;
// The same of segments without whole lines, where a line takes several steps.
inline constexpr std::int64_t kStreamedRagged = 2048;
// Rows that share what is loaded of their columns' coefficients.
inline constexpr std::int64_t kAppliedRows = 4;
// Rows that come from memory are fetched so many elements before their use.
inline constexpr std::int64_t kLeastAhead = 2048;
// From so many columns in a segment, or rows, on it pays to have coefficients
// as floats: on more rows where vectors hold few of them.
inline constexpr std::int64_t kIntervalSegment = 64;
inline constexpr std::int64_t kIntervalRows = kMaxLanes > 4 ? 8 : 64;

// Copies bytes past the caches. Both have the same offset within a line.
HWY_INLINE void StreamBytes(const std::byte* from, std::size_t size,
                            std::byte* to) {
  const hn::ScalableTag<std::uint8_t> d;
  const std::size_t step = hn::Lanes(d);
  const std::size_t past_line = reinterpret_cast<std::uintptr_t>(to) % step;
  std::size_t i = std::min(size, past_line == 0 ? 0 : step - past_line);
  std::memcpy(to, from, i);
  const auto* source = reinterpret_cast<const std::uint8_t*>(from);
  auto* target = reinterpret_cast<std::uint8_t*>(to);
  for (; i + step <= size; i += step) {
    hn::Stream(hn::LoadU(d, source + i), d, target + i);
  }
  std::memcpy(to + i, from + i, size - i);
}

// One formula over boxes of one dtype.
template <Formula kFormula, Dtype kDtype>
class BoxApplier {
 public:
  using Bits = BitsOf<kDtype>;

  BoxApplier(const Bits* x, const Bits* dy, const Coefficients& c,
             ApplyOptions options, Bits* out)
      : x_(x), dy_(dy), c_(c), options_(options), out_(out) {
    const void* output = out;
    apart_ = output != x && output != dy;
  }

  void Apply(const Box& box) {
    if (options_.may_be_nan) {
      ApplyBox<true>(box);
    } else {
      ApplyBox<false>(box);
    }
    hwy::FlushStream();
  }

 private:
  template <bool kMayBeNan>
  HWY_INLINE void ApplyBox(const Box& box) {
    if (box.inner >= SegmentColumns(box)) return ApplySegments<kMayBeNan>(box);
    const std::int64_t fold = FoldFor(box, FoldedColumns());
    ForEachFolded(box, fold, [&](const Box& part) HWY_ATTR {
      // The second and later parts of a row begin where a line does.
      std::int64_t most = part.HasChannelAColumn()
                              ? part.columns
                              : kCoefficientColumns - PastLine(part.offset);
      for (std::int64_t at = 0; at < part.columns;) {
        const std::int64_t columns = std::min(most, part.columns - at);
        ApplyLanes<kMayBeNan>(part.Columns(at, columns));
        at += columns;
        most = kCoefficientColumns;
      }
    });
  }

  // A channel's columns together.
  template <bool kMayBeNan>
  HWY_INLINE void ApplySegments(const Box& box) {
    using A = Loop<kFormula, kDtype, false, kMayBeNan>;
    if constexpr (kHasIntervals<A>) {
      SetIntervals<A>(has_intervals_ && box.inner >= kIntervalSegment,
                      OfChannel(box.first_channel()),
                      box.end_channel() - box.first_channel());
    }
    if (CanStreamDirectly() && HasLongSegments(box)) {
      return StreamSegments<A>(box);
    }
    if (!options_.streams && box.rows >= kAppliedRows) {
      if (options_.ahead == 0) return ApplyPlanes<A, false>(box);
      return ApplyPlanes<A, true>(box);
    }
    // Row by row, the channels of a row one after the other.
    for (std::int64_t row = 0; row < box.rows; ++row) {
      for (std::int64_t at = 0; at < box.columns; at += kChunk) {
        const Box chunk =
            box.Rows(row, 1).Columns(at, std::min(kChunk, box.columns - at));
        Bits* const to = Destination(chunk.offset);
        for (const auto& [channel, column, columns] : EachChannel(chunk)) {
          ApplyChannel<A>(chunk.offset + column, OfChannel(channel),
                          IntervalsOf(box, channel), columns, to + column);
        }
        Deliver(chunk.offset, chunk.columns);
      }
    }
  }

  // Channel by channel, whose coefficients stay in registers for several rows.
  template <class A, bool kFetches>
  HWY_INLINE void ApplyPlanes(const Box& box) {
    for (const auto& [channel, column, columns] : EachChannel(box)) {
      const CoefficientsAt c = OfChannel(channel);
      const IntervalsAt numbers = IntervalsOf(box, channel);
      std::int64_t at = box.offset + column;
      std::int64_t row = 0;
      for (; row + kAppliedRows <= box.rows; row += kAppliedRows) {
        KeepRows<A, kFetches, kAppliedRows>(at, c, numbers, columns,
                                            box.row_stride, options_.ahead);
        at += kAppliedRows * box.row_stride;
      }
      for (; row < box.rows; ++row) {
        KeepRows<A, kFetches, 1>(at, c, numbers, columns, box.row_stride,
                                 options_.ahead);
        at += box.row_stride;
      }
    }
  }

  // A segment of a channel's columns.
  template <class A>
  HWY_INLINE void ApplyChannel(std::int64_t at, const CoefficientsAt& c,
                               const IntervalsAt& numbers, std::int64_t columns,
                               Bits* to) {
    const auto size = static_cast<std::size_t>(columns);
    const std::size_t done =
        ApplyBlocks<A, true, 1>(at, c, numbers, size, 0, options_.ahead, to);
    ApplySegment<A>(x_ + at, dy_ + at, c, done, size, options_.ahead, apart_,
                    to);
  }

  // To how many columns short rows are folded.
  std::int64_t FoldedColumns() const {
    constexpr std::int64_t kOfMemory = kFoldedBytes / sizeof(Bits);
    return options_.ahead > 0 ? std::max(kFoldedColumns, kOfMemory)
                              : kFoldedColumns;
  }

  // From how many columns a channel on it is applied by itself.
  std::int64_t SegmentColumns(const Box& box) const {
    const bool directly = CanStreamDirectly();
    if (box.rows < kAppliedRows || !MayTile(box, directly)) {
      return kSegmentColumns;
    }
    return directly ? kStreamedSegment : kSharedSegmentColumns;
  }

  // How many elements of a cache line lie before where this one's result does.
  std::int64_t PastLine(std::int64_t offset) const {
    return static_cast<std::int64_t>(
        reinterpret_cast<std::uintptr_t>(out_ + offset) % kLineBytes /
        sizeof(Bits));
  }

  // How many elements on the next line begins.
  std::size_t UpToLine(std::int64_t offset) const {
    constexpr std::int64_t kLine = kLineBytes / sizeof(Bits);
    return static_cast<std::size_t>((kLine - PastLine(offset)) % kLine);
  }

  // Whether elements lie where whole lines begin, and results fill lines at
  // once.
  bool CanStreamDirectly() const {
    return options_.streams && (sizeof(Bits) >= 4 || has_intervals_) &&
           reinterpret_cast<std::uintptr_t>(out_) % sizeof(Bits) == 0;
  }

  // Whether each segment's first and last line, which are not written at once
  // unless they are whole, are few of its lines. They cost more where a line
  // takes several steps.
  static bool HasLongSegments(const Box& box) {
    const std::int64_t bytes =
        box.inner * static_cast<std::int64_t>(sizeof(Bits));
    const bool are_whole = bytes % std::int64_t{kLineBytes} == 0;
    return box.inner >=
           (are_whole || StepFillsLine() ? kStreamedSegment : kStreamedRagged);
  }

  template <class A>
  HWY_INLINE void StreamSegments(const Box& box) {
    for (std::int64_t row = 0; row < box.rows; ++row) {
      const std::int64_t at = box.offset + row * box.row_stride;
      for (const auto& [channel, column, columns] : EachChannel(box)) {
        const CoefficientsAt c = OfChannel(channel);
        StreamRows<A, 1>(at + column, c, IntervalsOf(box, channel), columns, 0,
                         options_.ahead);
      }
    }
  }

  // Columns of rows from `at` on.
  template <class A, std::int64_t kRows>
  HWY_INLINE void StreamRows(std::int64_t at, const CoefficientsAt& c,
                             const IntervalsAt& numbers, std::int64_t columns,
                             std::int64_t stride, std::int64_t ahead) {
    const Bits* const x = x_ + at;
    const Bits* const dy = dy_ + at;
    Bits* const out = out_ + at;
    const auto size = static_cast<std::size_t>(columns);
    std::size_t done = 0;
    if constexpr (kHasIntervals<A>) {
      const std::size_t begin = std::min(size, UpToLine(at));
      ApplyRows<A, false, false, kRows>(x, dy, c, 0, begin, stride, 0, apart_,
                                        out);
      done = ApplyIntervals<A, true, true, kRows>(x, dy, c, numbers, begin,
                                                  size, stride, ahead, out);
    }
    ApplyRows<A, true, true, kRows>(x, dy, c, done, size, stride, ahead, apart_,
                                    out);
  }

  // Columns in lanes: each has its own coefficients.
  template <bool kMayBeNan>
  HWY_INLINE void ApplyLanes(const Box& box) {
    using A = Loop<kFormula, kDtype, true, kMayBeNan>;
    const CoefficientsAt c = OfColumns(box);
    const auto columns = static_cast<std::size_t>(box.columns);
    // Long rows have many whole lines.
    const bool directly = box.columns >= kStreamedRow && CanStreamDirectly();
    if constexpr (kHasIntervals<A>) {
      SetIntervals<A>(directly || (has_intervals_ && box.rows >= kIntervalRows),
                      c, box.columns);
    }
    std::int64_t row = 0;
    if (MayTile(box, directly) && !HasManyStreams(box)) {
      for (; row + kAppliedRows <= box.rows; row += kAppliedRows) {
        ApplyTile<A, kAppliedRows>(box, row, c, directly);
      }
    }
    for (; row < box.rows; ++row) {
      if (directly || !options_.streams) {
        ApplyTile<A, 1>(box, row, c, directly);
        continue;
      }
      const std::int64_t at = box.offset + row * box.row_stride;
      Bits* const to = Destination(at);
      const std::size_t done = ApplyBlocks<A, true, 1>(
          at, c, intervals_.From(0), columns, 0, options_.ahead, to);
      ApplySegment<A>(x_ + at, dy_ + at, c, done, columns, options_.ahead,
                      apart_, to);
      Deliver(at, box.columns);
    }
  }

  // Columns of rows from `at` on, as far as there are whole blocks and the
  // numbers are set; returns how far.
  template <class A, bool kFetches, std::int64_t kRows>
  HWY_INLINE std::size_t ApplyBlocks(std::int64_t at, const CoefficientsAt& c,
                                     const IntervalsAt& numbers,
                                     std::size_t columns, std::int64_t stride,
                                     std::int64_t ahead, Bits* to) {
    if constexpr (kHasIntervals<A>) {
      if (has_set_intervals_) {
        return ApplyIntervals<A, false, kFetches, kRows>(
            x_ + at, dy_ + at, c, numbers, 0, columns, stride, ahead, to);
      }
    }
    return 0;
  }

  template <class A, std::int64_t kRows>
  HWY_INLINE void ApplyTile(const Box& box, std::int64_t row,
                            const CoefficientsAt& c, bool directly) {
    const std::int64_t at = box.offset + row * box.row_stride;
    const IntervalsAt numbers = intervals_.From(0);
    const std::int64_t ahead = Ahead<kRows>(box);
    if (directly) {
      return StreamRows<A, kRows>(at, c, numbers, box.columns, box.row_stride,
                                  ahead);
    }
    if (ahead == 0) {
      return KeepRows<A, false, kRows>(at, c, numbers, box.columns,
                                       box.row_stride, ahead);
    }
    KeepRows<A, true, kRows>(at, c, numbers, box.columns, box.row_stride,
                             ahead);
  }

  // How far ahead of kRows rows of a box is fetched. Where columns share a
  // channel, what follows lies along the row: all rows of a strip come before
  // the next one.
  template <std::int64_t kRows>
  std::int64_t Ahead(const Box& box) const {
    if (options_.ahead == 0 || !box.HasChannelAColumn()) return options_.ahead;
    const std::int64_t rows = std::max(
        2 * kRows, (kLeastAhead + box.row_stride - 1) / box.row_stride);
    return std::max(options_.ahead, rows * box.row_stride);
  }

  // Columns of rows from `at` on, whose results stay in the caches.
  template <class A, bool kFetches, std::int64_t kRows>
  HWY_INLINE void KeepRows(std::int64_t at, const CoefficientsAt& c,
                           const IntervalsAt& numbers, std::int64_t columns,
                           std::int64_t stride, std::int64_t ahead) {
    const auto size = static_cast<std::size_t>(columns);
    const std::size_t done = ApplyBlocks<A, kFetches, kRows>(
        at, c, numbers, size, stride, ahead, out_ + at);
    ApplyRows<A, false, kFetches, kRows>(x_ + at, dy_ + at, c, done, size,
                                         stride, ahead, apart_, out_ + at);
  }

  // Rows of a tile that are streamed must all begin alike within a line, and a
  // step must fill it: rows written by half lines in turn take up to twice as
  // long as one row after the other where they are 2 KiB or more apart.
  bool MayTile(const Box& box, bool directly) const {
    if (!directly) return !options_.streams;
    const std::int64_t stride =
        box.row_stride * static_cast<std::int64_t>(sizeof(Bits));
    return stride % std::int64_t{kLineBytes} == 0 && StepFillsLine();
  }

  // Whether four rows at a time are more streams of lines than the machine
  // follows well: those of dx are, where vectors have no more than four lanes,
  // unless rows are so long that the next one's columns are far.
  static bool HasManyStreams(const Box& box) {
    return kFormula == Formula::kBackward && LaneCount() <= 4 &&
           box.row_stride <= kLeastAhead;
  }

  // Whether the results of a step of the columns of a row are whole lines.
  static bool StepFillsLine() {
    const std::size_t step =
        sizeof(Bits) == 2 ? kIntervalBlock : 2 * LaneCount();
    return step * sizeof(Bits) >= kLineBytes;
  }

  // Of so many columns or channels, if it pays.
  template <class A>
  HWY_INLINE void SetIntervals(bool pays, const CoefficientsAt& c,
                               std::int64_t count) {
    has_set_intervals_ = pays;
    if (pays) intervals_.Set<A>(c, static_cast<std::size_t>(count));
  }

  // What is set of one of a box's channels, or nothing.
  IntervalsAt IntervalsOf(const Box& box, std::int64_t channel) const {
    if (!has_set_intervals_) return {};
    return intervals_.From(
        static_cast<std::size_t>(channel - box.first_channel()));
  }

  CoefficientsAt OfChannel(std::int64_t channel) const {
    const auto i = static_cast<std::size_t>(channel);
    CoefficientsAt at = {};
    at.gain = &c_.gain[i];
    if constexpr (kFormula != Formula::kInferenceBackward) {
      at.mean = &c_.mean[i];
      at.mean_lo = &c_.mean_lo[i];
    }
    if constexpr (kFormula == Formula::kForward) at.beta = &c_.beta[i];
    if constexpr (kFormula == Formula::kBackward) {
      at.mean_dy = &c_.mean_dy[i];
      at.mean_dy_lo = &c_.mean_dy_lo[i];
      at.k = &c_.k[i];
    }
    return at;
  }

  // A coefficient for columns `at` to `end`, and some behind them.
  HWY_INLINE static void Repeat(double value, std::int64_t at, std::int64_t end,
                                double* of_columns) {
    const DoubleTag d;
    const auto all = hn::Set(d, value);
    const auto lanes = static_cast<std::int64_t>(LaneCount());
    for (; at < end; at += lanes) hn::StoreU(all, d, of_columns + at);
  }

  // The coefficients of a box's columns: the channels' own, or repeated for
  // each of a channel's columns.
  CoefficientsAt OfColumns(const Box& box) {
    if (box.HasChannelAColumn()) return OfChannel(box.first_channel());
    CoefficientsAt of_column = {};
    const double** targets[] = {&of_column.mean,    &of_column.mean_lo,
                                &of_column.gain,    &of_column.beta,
                                &of_column.mean_dy, &of_column.mean_dy_lo,
                                &of_column.k};
    for (std::size_t i = 0; i < kCoefficients; ++i) *targets[i] = repeated_[i];
    for (const auto& [channel, column, columns] : EachChannel(box)) {
      const CoefficientsAt of_channel = OfChannel(channel);
      const double* const sources[] = {
          of_channel.mean, of_channel.mean_lo, of_channel.gain,
          of_channel.beta, of_channel.mean_dy, of_channel.mean_dy_lo,
          of_channel.k};
      for (std::size_t i = 0; i < kCoefficients; ++i) {
        if (sources[i] == nullptr) continue;
        Repeat(*sources[i], column, column + columns, repeated_[i]);
      }
    }
    return of_column;
  }

  // Where results of elements from `offset` on are written: their place, or
  // the buffer, at the same offset within a cache line.
  Bits* Destination(std::int64_t offset) {
    if (!options_.streams) return out_ + offset;
    const auto in_line =
        reinterpret_cast<std::uintptr_t>(out_ + offset) % kLineBytes;
    return reinterpret_cast<Bits*>(buffer_ + in_line);
  }

  void Deliver(std::int64_t offset, std::int64_t size) {
    if (!options_.streams) return;
    StreamBytes(reinterpret_cast<const std::byte*>(Destination(offset)),
                static_cast<std::size_t>(size) * sizeof(Bits),
                reinterpret_cast<std::byte*>(out_ + offset));
  }

  static constexpr std::size_t kCoefficients = 7;

  const Bits* x_;
  const Bits* dy_;
  const Coefficients& c_;
  ApplyOptions options_;
  Bits* out_;
  bool apart_;
  const bool has_intervals_ =
      kHasIntervals<Loop<kFormula, kDtype, true, true>> &&
      CanRoundFloats<kDtype>();
  bool has_set_intervals_ = false;  // of the columns or channels at work
  IntervalNumbers intervals_;
  alignas(kLineBytes) std::byte buffer_[kChunk * sizeof(Bits) + kLineBytes];
  alignas(kLineBytes) double repeated_[kCoefficients]
                                      [kCoefficientColumns + kMaxLanes];
};

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_APPLY_BOX_INL_H_
