// Sums of a box whose channels have few columns each, as NHWC, N x C and NCHW
// with small planes: columns in lanes, accumulators in the first-level cache.
//
// After kLaneAdds rows (add_columns-inl.h) a strip of columns is closed:
// certified, turned to integers, begun anew.
#if defined(BATCHNORMD_SERVER_KERNEL_SUM_COLUMNS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_SUM_COLUMNS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_SUM_COLUMNS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_SUM_COLUMNS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/add_columns-inl.h"
#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/box.h"
#include "server/kernel/certified_block-inl.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/prediction.h"
#include "server/kernel/spilled_block-inl.h"
#include "server/kernel/sum_runs-inl.h"
#include "server/kernel/turn_columns-inl.h"
#include "server/kernel/unit_probe-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Rows are folded to as many, whose accumulators stay in the first-level cache:
// fewer where the tensors are in a cache, too.
inline constexpr std::int64_t FoldedColumns(bool from_memory) {
  return from_memory ? 512 : 256;
}

// How many columns each strip of so many has: about the same, since memory
// takes longer for short segments of rows, and whole lines.
inline std::int64_t StripColumns(std::int64_t columns, bool from_memory) {
  constexpr std::int64_t kLine = 16;
  const std::int64_t most = from_memory ? kStripColumns : kCachedStripColumns;
  const std::int64_t strips =
      std::max<std::int64_t>((columns + most - 1) / most, 1);
  const std::int64_t step = strips * kLine;
  return (columns + step - 1) / step * kLine;
}

template <Dtype kDtype, bool kSquares>
class ColumnStrip {
 public:
  using Bits = BitsOf<kDtype>;
  using P = ProductCertificate<kDtype, kSquares>;
  using Columns = ColumnAccumulators<kDtype, kSquares>;
  static constexpr std::size_t kCount = Columns::kCount;
  // While elements are summed. Where a flag certifies, they are after it was
  // raised, to find the columns that raised it.
  static constexpr bool kScans = Columns::kScans;
  static constexpr bool kProbes = Columns::kProbes;
  static constexpr bool kScansLater = kSeesInexact || kProbes;
  static constexpr bool kIsScanned = kScans || kScansLater;
  // Not where two slices need no scan either; nor squares, of which some
  // thousand hardly fit.
  static constexpr bool kTriesUpper =
      kUpperMayDo<kDtype, kSquares> && !kSeesInexact && !kSquares;
  // How accumulators start, and where squares must stay, where tops are 0.
  static constexpr LaneScale<kDtype> kAtTop0 = P::Scale(0, 0);
  static constexpr double kStarts[kSums] = {kAtTop0.sum,   kAtTop0.top,
                                            kAtTop0.rest,  kAtTop0.sum_rest,
                                            kAtTop0.error, kAtTop0.error_rest};
  static constexpr double kLimit = kAtTop0.top_limit;
  // Whether an accumulator takes a, not a*b.
  static constexpr bool IsOfA(std::size_t k) { return k == 0 || k == 3; }

  ColumnStrip() {}  // NOLINT(modernize-use-equals-default): zeroes nothing

  // `a` and `b` point to the box's first element, and `readable` elements can
  // be read from there on, which come from memory or from a cache.
  void Add(const Bits* a, const Bits* b, std::int64_t readable,
           bool from_memory, const Box& box, ChannelTotals* channels) {
    from_memory_ = from_memory;
    box_ = box;
    channels_ = channels;
    width_ = static_cast<std::size_t>(box.columns);
    SetScales();
    ClearUnits();
    std::int64_t closings = 0;
    std::int64_t to_spill = 0;
    upper_ = {};
    for (std::int64_t row = 0; row < box.rows;) {
      const std::int64_t most = to_spill > 0 ? kSpilledRows : P::kMaxLaneAdds;
      const std::int64_t rows = std::min<std::int64_t>(most, box.rows - row);
      const std::int64_t offset = row * box.row_stride;
      row += rows;
      if (to_spill > 0) {
        std::fill_n(is_spilled_, width_, true);
        SpillColumns(a + offset, b + offset, rows);
        to_spill -= rows;
        continue;
      }
      if (++closings % kClosingsUntilDrain == 0) Drain();
      if (kTriesUpper && upper_.IsDue() &&
          AddUpper(a + offset, b + offset, readable - offset, rows)) {
        continue;
      }
      Begin();
      AddRows(a + offset, b + offset, readable - offset, rows);
      const std::size_t spilled = Close(a + offset, b + offset, rows);
      if (spilled > width_ / 4) to_spill = kRowsSpilledTogether;
    }
    GiveUnits();
  }

 private:
  // Data that few columns are certified for will hardly be better in the next
  // rows: these are spilled without a try, more of them at a time.
  static constexpr std::int64_t kSpilledRows = 1024;
  static constexpr std::int64_t kRowsSpilledTogether = 4 * kSpilledRows;
  static_assert(kSpilledRows <= static_cast<std::int64_t>(kSliceBlock));
  // A run's length with room, so that runs do not begin in the same set of the
  // cache.
  static constexpr std::size_t kTurnedRoom = kSpilledRows + 32;
  // A total gains less than 2^52 a closing and holds 2^63.
  static constexpr std::int64_t kClosingsUntilDrain = 1 << 10;

  // The tops of the columns' channels, as they are added to a double's exponent
  // field. Columns behind the last one are summed too, at its scale: what is
  // not looked at should not leave its binade either.
  void SetScales() {
    const auto shifted = [](int exponent) {
      return static_cast<std::int64_t>(exponent) * (std::int64_t{1} << 52);
    };
    ForEachColumn([&](std::size_t j, const ChannelTotals& channel) {
      const int top = channel.scale.top;
      sum_tops_[j] = shifted(top);
      product_tops_[j] = shifted(top + channel.scale.other_top);
      counted_[j] = 1;
    });
    for (std::size_t j = width_; j < Columns::Padded(width_) + kScanRoom; ++j) {
      sum_tops_[j] = sum_tops_[width_ - 1];
      product_tops_[j] = product_tops_[width_ - 1];
      counted_[j] = 0;
    }
    if constexpr (kProbes) SetProbes();
    if constexpr (kScans) SetBounds();
  }

  void SetProbes() {
    are_probed_ = true;
    ForEachColumn([&](std::size_t j, const ChannelTotals& channel) {
      are_probed_ &= columns_.probes.SetScale(j, channel.scale);
    });
    for (std::size_t j = width_; j < Columns::Padded(width_) + kScanRoom; ++j) {
      columns_.probes.SetNone(j);
    }
  }

  // What certifies the columns; where a flag does, it is not needed before the
  // flag was raised.
  void SetBounds() {
    ForEachColumn([&](std::size_t j, const ChannelTotals& channel) {
      columns_.extremes.SetBounds(j, channel.scale);
    });
    for (std::size_t j = width_; j < Columns::Padded(width_) + kScanRoom; ++j) {
      columns_.extremes.SetNoBounds(j);
    }
  }

  // Calls visit(j, channel) for each column. EachChannel would need a loop over
  // a channel's columns, which costs more than the one that most channels have.
  template <class Visit>
  HWY_INLINE void ForEachColumn(const Visit& visit) {
    const std::int64_t period = box_.period == 0 ? box_.columns : box_.period;
    for (std::int64_t begin = 0; begin < box_.columns; begin += period) {
      ChannelTotals* channel = channels_ + box_.first_channel();
      std::int64_t left = box_.inner - box_.first_column % box_.inner;
      for (std::int64_t j = begin; j < begin + period; ++j) {
        visit(static_cast<std::size_t>(j), *channel);
        if (--left > 0) continue;
        ++channel;
        left = box_.inner;
      }
    }
  }

  // Accumulator k of columns j and on, as it starts.
  HWY_INLINE DoubleVector Start(std::size_t k, std::size_t j) const {
    return AtTops(kStarts[k], IsOfA(k) ? sum_tops_ + j : product_tops_ + j);
  }

  // What `at_top_0` is for these tops.
  static HWY_INLINE DoubleVector AtTops(double at_top_0,
                                        const std::int64_t* tops) {
    const IntegerTag di;
    return hn::BitCast(
        DoubleTag(), hn::Add(hn::Set(di, std::bit_cast<std::int64_t>(at_top_0)),
                             hn::Load(di, tops)));
  }

  StripRows strip() const { return {width_, box_.row_stride, from_memory_}; }

  void Begin() {
    const DoubleTag d;
    for (std::size_t k = 0; k < kCount; ++k) {
      for (std::size_t j = 0; j < width_; j += LaneCount()) {
        hn::Store(Start(k, j), d, columns_.sums[k] + j);
      }
    }
    if constexpr (kScans) columns_.extremes.Begin(width_);
    if constexpr (kProbes) columns_.probes.Begin(Columns::Padded(width_));
    WatchFlagOf<kDtype, kSquares>();
  }

  // Tile by tile in the upper slice alone, if hardly a tile needs two.
  void AddRows(const Bits* a, const Bits* b, std::int64_t readable,
               std::int64_t rows) {
    if (!Columns::kTriesUpperIfLarge || !upper_.IsDue()) {
      columns_.template AddRows<Slices::kTwo>(strip(), a, b, readable, rows);
      return;
    }
    const std::size_t small = columns_.template AddRows<Slices::kUpperIfLarge>(
        strip(), a, b, readable, rows);
    const auto tiles =
        static_cast<std::size_t>((rows + kTileRows - 1) / kTileRows);
    if (small > tiles * width_ / 4) {
      upper_.DidNot();
    } else {
      upper_.Did();
    }
  }

  // The same rows in the upper slice alone, if that takes them exactly.
  bool AddUpper(const Bits* a, const Bits* b, std::int64_t readable,
                std::int64_t rows) {
    Begin();
    columns_.template AddRows<Slices::kUpper>(strip(), a, b, readable, rows);
    if (IsRaised(Flag::kInexact) || !AllStayInBinades(0, width_)) {
      upper_.DidNot();
      return false;
    }
    upper_.Did();
    KeepAll();
    return true;
  }

  // Squares only grow their sum, so the last one shows the greatest.
  bool AllSquaresStayBelow(std::size_t begin, std::size_t end) const {
    const DoubleTag d;
    auto above = hn::Zero(d);
    for (std::size_t j = begin; j < end; j += LaneCount()) {
      const auto fits = hn::Lt(hn::Load(d, columns_.sums[1] + j),
                               AtTops(kLimit, product_tops_ + j));
      above = hn::Or(
          above, hn::IfThenElseZero(hn::Not(fits), hn::Load(d, counted_ + j)));
    }
    return hn::AllTrue(d, hn::Eq(above, hn::Zero(d)));
  }

  bool AllStayInBinades(std::size_t begin, std::size_t end) const {
    auto differences = hn::Zero(IntegerTag());
    for (std::size_t k = 0; k < kCount; ++k) {
      for (std::size_t j = begin; j < end; j += LaneCount()) {
        SeeBinade(hn::Load(DoubleTag(), columns_.sums[k] + j), Start(k, j),
                  differences);
      }
    }
    return AllStayed(differences);
  }

  // Whether no value of columns begin to end is too large.
  bool AreBounded(std::size_t begin, std::size_t end) const {
    if constexpr (kSquares) return AllSquaresStayBelow(begin, end);
    if constexpr (kMustBeFinite<kDtype, kSquares>) {
      return AllStayInBinades(begin, end);
    }
    if (kProbes && are_probed_) return columns_.probes.AllStayBelow(begin, end);
    return columns_.extremes.AllStayBelow(begin, end);
  }

  // The same where elements were scanned, with none too small.
  bool AreCertified(std::size_t begin, std::size_t end) const {
    if (kIsScanned && !columns_.extremes.AllReach(begin, end)) return false;
    return AreBounded(begin, end);
  }

  bool AreAllCertified() const {
    if constexpr (kSeesInexact) {
      return !IsRaised(Flag::kInexact) && AllStayInBinades(0, width_);
    }
    if constexpr (kProbes) {
      return are_probed_ && !IsRaised(Flag::kUnderflow) &&
             AreBounded(0, width_);
    }
    return AreCertified(0, width_);
  }

  // What AreCertified tells of a column alone.
  bool IsCertified(std::size_t j) const {
    if (kIsScanned && !columns_.extremes.Reaches(j)) return false;
    if constexpr (kSquares) {
      const auto limit = std::bit_cast<std::int64_t>(kLimit) + product_tops_[j];
      return columns_.sums[1][j] < std::bit_cast<double>(limit);
    }
    if constexpr (kMustBeFinite<kDtype, kSquares>) {
      return std::isfinite(columns_.sums[0][j]) &&
             std::isfinite(columns_.sums[1][j]);
    }
    if (kProbes && are_probed_) return columns_.probes.StaysBelow(j);
    return columns_.extremes.StaysBelow(j);
  }

  // Returns how many columns were spilled.
  std::size_t Close(const Bits* a, const Bits* b, std::int64_t rows) {
    const bool all = AreAllCertified();
    KeepAll();
    if (HWY_LIKELY(all)) return 0;
    if constexpr (kScansLater) {
      SetBounds();
      columns_.extremes.Scan(a, b, box_.row_stride, rows, width_);
    }
    TakeUncertifiedBack();
    return SpillColumns(a, b, rows);
  }

  // What KeepAll kept of columns that are not certified: notes which.
  HWY_NOINLINE void TakeUncertifiedBack() {
    constexpr std::size_t kTogether = 64;
    std::fill_n(is_spilled_, width_, false);
    for (std::size_t begin = 0; begin < width_; begin += kTogether) {
      const std::size_t end = std::min(begin + kTogether, width_);
      if (AreCertified(begin, end)) continue;
      for (std::size_t j = begin; j < end; ++j) {
        if (IsCertified(j)) continue;
        is_spilled_[j] = true;
        TakeBack(j);
      }
    }
  }

  // The columns that are to be, whose number is returned; in groups, so that a
  // line of the tensor is fetched once. Scales change only at the end: columns
  // that are certified were summed at those they had.
  HWY_NOINLINE std::size_t SpillColumns(const Bits* a, const Bits* b,
                                        std::int64_t rows) {
    std::size_t spilled = 0;
    bool rescaled = false;
    for (std::size_t j = 0; j < width_; j += kTurnedColumns) {
      const std::size_t columns = std::min(kTurnedColumns, width_ - j);
      bool is_turned = false;
      for (std::size_t k = 0; k < columns; ++k) {
        if (!is_spilled_[j + k]) continue;
        if (!is_turned) {
          TurnColumns(a + j, box_.row_stride, rows, columns, a_turned_);
          if constexpr (!kSquares) {
            TurnColumns(b + j, box_.row_stride, rows, columns, b_turned_);
          }
          is_turned = true;
        }
        rescaled |=
            SpillColumn(a_turned_[k], kSquares ? a_turned_[k] : b_turned_[k],
                        rows, j + k, rescaled);
        ++spilled;
      }
    }
    if (rescaled) SetScales();
    return spilled;
  }

  void KeepAll() {
    const DoubleTag d;
    for (std::size_t k = 0; k < kCount; ++k) {
      for (std::size_t j = 0; j < width_; j += LaneCount()) {
        AddGain(hn::Load(d, columns_.sums[k] + j), Start(k, j), units_[k] + j);
      }
    }
  }

  // Undoes it for a column, whose gains may be anything.
  void TakeBack(std::size_t j) {
    for (std::size_t k = 0; k < kCount; ++k) {
      const auto start = std::bit_cast<std::int64_t>(kStarts[k]) +
                         (IsOfA(k) ? sum_tops_[j] : product_tops_[j]);
      const auto gain = std::bit_cast<std::uint64_t>(columns_.sums[k][j]) -
                        static_cast<std::uint64_t>(start);
      units_[k][j] = static_cast<std::int64_t>(
          static_cast<std::uint64_t>(units_[k][j]) - gain);
    }
  }

  // Returns whether the channel got another scale. Before the first one does,
  // as `drained` knows, units of the present ones are put away.
  bool SpillColumn(const Bits* a, const Bits* b, std::int64_t rows,
                   std::size_t j, bool drained) {
    ChannelTotals& channel = Channel(j);
    const auto size = static_cast<std::size_t>(rows);
    const Magnitudes greatest = AddSpilledBlock<kDtype, kSquares>(
        a, b, size, ScanSpilled<kDtype, kSquares>(a, b, {1, 0, size}), channel);
    const auto scale =
        BetterScale<kDtype, kSquares, kBoundedBy<kDtype, kSquares>>(
            greatest, channel.scale);
    if (scale == channel.scale) return false;
    if (!drained) Drain();
    channel.Rescale(scale);
    return true;
  }

  // Gives the channels the units they gained.
  void Drain() {
    GiveUnits();
    ClearUnits();
  }

  void GiveUnits() {
    ForEachColumn([&](std::size_t j, ChannelTotals& channel) HWY_ATTR {
      ChannelTotals::Wide units[kSums] = {};
      for (std::size_t k = 0; k < kCount; ++k) units[k] = units_[k][j];
      AddUnits<kDtype, kSquares>(units, channel);
    });
  }

  void ClearUnits() {
    for (auto& units : units_) {
      std::memset(units, 0, Columns::Padded(width_) * sizeof(units[0]));
    }
  }

  ChannelTotals& Channel(std::size_t j) {
    return channels_[box_.ChannelOf(static_cast<std::int64_t>(j))];
  }

  Box box_ = {};
  ChannelTotals* channels_ = nullptr;
  std::size_t width_ = 0;
  bool from_memory_ = false;
  bool are_probed_ = false;  // all columns
  UpperTries upper_;

  // By accumulator and column: its value, and the units it gained before.
  Columns columns_;
  HWY_ALIGN std::int64_t units_[kCount][kStripRoom];
  // By column: its scale, and what certifies it.
  HWY_ALIGN std::int64_t sum_tops_[kStripRoom];
  HWY_ALIGN std::int64_t product_tops_[kStripRoom];
  HWY_ALIGN double counted_[kStripRoom];  // 1, and 0 behind the last column
  // Columns that are spilled: which, and their values.
  bool is_spilled_[kStripRoom];
  HWY_ALIGN Bits a_turned_[kTurnedColumns][kTurnedRoom];
  HWY_ALIGN Bits b_turned_[kTurnedColumns][kTurnedRoom];
};

template <Dtype kDtype, bool kSquares>
void SumColumns(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                std::int64_t readable, bool from_memory, const Box& box,
                ChannelTotals* channels) {
  // Some 310 KiB, of which few columns use little: a thread keeps its own,
  // since to allocate it takes a tenth of a small tensor's whole forward pass.
  thread_local const auto strip =
      hwy::MakeUniqueAligned<ColumnStrip<kDtype, kSquares>>();
  const std::int64_t width = StripColumns(box.columns, from_memory);
  for (std::int64_t column = 0; column < box.columns; column += width) {
    const Box part = box.Columns(column, std::min(width, box.columns - column));
    strip->Add(a + part.offset, b + part.offset, readable - part.offset,
               from_memory, part, channels);
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_SUM_COLUMNS_INL_H_
