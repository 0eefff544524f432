// Samples of a box, from which its channels get their scales.
#if defined(BATCHNORMD_SERVER_KERNEL_PREDICT_BOX_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_PREDICT_BOX_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_PREDICT_BOX_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_PREDICT_BOX_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "server/kernel/box.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/prediction.h"
#include "server/kernel/unit_probe-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// A channel's sample: this many rows of at most kSampleColumns values.
inline constexpr std::int64_t kSampleRows = 8;
inline constexpr std::int64_t kSampleColumns = 16;
// From this many columns a channel on, channels are sampled one by one.
inline constexpr std::int64_t kAloneColumns = 32;
// Columns that are sampled together.
inline constexpr std::size_t kPredictedColumns = 512;

// Which row of the box the sample's row i is: all of few, else some evenly
// apart.
HWY_INLINE std::int64_t SampledRow(const Box& box, std::int64_t i) {
  return box.rows < kSampleRows ? i : box.rows * i / kSampleRows;
}

// Takes `v` into the greatest magnitudes, doubled as bits.
template <class D>
HWY_INLINE hn::Vec<D> GreaterOf(D d, hn::Vec<D> greatest, hn::Vec<D> v) {
  (void)d;
  return hn::Max(greatest, hn::Add(v, v));  // without the sign
}

// The greatest magnitudes, doubled as bits, of columns in the sampled rows.
template <Dtype kDtype>
HWY_INLINE void SampleColumns(const BitsOf<kDtype>* values, const Box& box,
                              std::size_t columns, BitsOf<kDtype>* greatest) {
  const hn::ScalableTag<BitsOf<kDtype>> d;
  const std::int64_t rows = std::min(box.rows, kSampleRows);
  for (std::size_t j = 0; j < columns; j += hn::Lanes(d)) {
    auto largest = hn::Zero(d);
    for (std::int64_t i = 0; i < rows; ++i) {
      const auto* row = values + SampledRow(box, i) * box.row_stride;
      largest = GreaterOf(d, largest, LoadFirst(d, row + j, columns - j));
    }
    hn::StoreU(largest, d, greatest + j);
  }
}

// The greatest magnitude, as bits, of columns whose doubled ones these are.
template <typename Bits>
HWY_INLINE Bits GreatestOf(const Bits* doubled, std::int64_t columns) {
  Bits largest = doubled[0];
  for (std::int64_t j = 1; j < columns; ++j) {
    largest = std::max(largest, doubled[j]);
  }
  return static_cast<Bits>(largest >> 1);
}

// The same of a box of one channel.
template <Dtype kDtype>
HWY_INLINE BitsOf<kDtype> SampleOfChannel(const BitsOf<kDtype>* values,
                                          const Box& box) {
  const hn::ScalableTag<BitsOf<kDtype>> d;
  const auto columns = static_cast<std::size_t>(box.columns);
  const std::int64_t rows = std::min(box.rows, kSampleRows);
  auto largest = hn::Zero(d);
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto* row = values + box.offset + SampledRow(box, i) * box.row_stride;
    for (std::size_t j = 0; j < columns; j += hn::Lanes(d)) {
      largest = GreaterOf(d, largest, LoadSome(d, row, j, columns));
    }
  }
  HWY_ALIGN BitsOf<kDtype> greatest[hn::MaxLanes(d)];
  hn::Store(largest, d, greatest);
  return GreatestOf(greatest, static_cast<std::int64_t>(hn::Lanes(d)));
}

template <Dtype kDtype, bool kSquares>
bool AllHaveScales(const Box& box, const ChannelTotals* channels) {
  for (std::int64_t c = box.first_channel(); c < box.end_channel(); ++c) {
    if (!IsScaleFor<kDtype, kSquares, kBoundedBy<kDtype, kSquares>>(
            channels[c].scale))
      return false;
  }
  return true;
}

// Gives a channel that has no scale yet one, from a sample of `size` values
// with these greatest magnitudes.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void TakeScale(BitsOf<kDtype> a, BitsOf<kDtype> b, std::int64_t size,
                          ChannelTotals& channel) {
  if (IsScaleFor<kDtype, kSquares, kBoundedBy<kDtype, kSquares>>(channel.scale))
    return;
  channel.Rescale(ScaleOfSample<kDtype, kSquares, kBoundedBy<kDtype, kSquares>>(
      a, b, size));
}

// A box of at most kPredictedColumns columns.
template <Dtype kDtype, bool kSquares>
void PredictStrip(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                  const Box& box, ChannelTotals* channels) {
  constexpr std::size_t kRoom =
      kPredictedColumns + hn::MaxLanes(hn::ScalableTag<BitsOf<kDtype>>());
  BitsOf<kDtype> of_a[kRoom];
  BitsOf<kDtype> of_b[kRoom];
  const auto columns = static_cast<std::size_t>(box.columns);
  SampleColumns<kDtype>(a + box.offset, box, columns, of_a);
  if constexpr (!kSquares) {
    SampleColumns<kDtype>(b + box.offset, box, columns, of_b);
  }
  const std::int64_t rows = std::min(box.rows, kSampleRows);
  const auto take = [&](std::int64_t channel, std::int64_t column,
                        std::int64_t width) HWY_ATTR {
    const auto sample_a = GreatestOf(of_a + column, width);
    const auto sample_b =
        kSquares ? sample_a : GreatestOf(of_b + column, width);
    TakeScale<kDtype, kSquares>(sample_a, sample_b, width * rows,
                                channels[channel]);
  };
  if (box.HasChannelAColumn()) {  // so that a copy of it knows the width
    const std::int64_t first = box.first_channel();
    for (std::int64_t j = 0; j < box.columns; ++j) take(first + j, j, 1);
    return;
  }
  for (const auto& [channel, column, width] : EachChannel(box)) {
    take(channel, column, width);
  }
}

// A box of at most kSampleColumns columns, all of one channel.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void PredictChannel(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                               const Box& box, ChannelTotals& channel) {
  const auto sample_a = SampleOfChannel<kDtype>(a, box);
  const auto sample_b = kSquares ? sample_a : SampleOfChannel<kDtype>(b, box);
  TakeScale<kDtype, kSquares>(sample_a, sample_b,
                              box.columns * std::min(box.rows, kSampleRows),
                              channel);
}

// Gives the channels of a box that have no scale yet one, from a sample.
template <Dtype kDtype, bool kSquares>
void PredictBox(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                const Box& box, ChannelTotals* channels) {
  if (AllHaveScales<kDtype, kSquares>(box, channels)) return;
  if (box.inner < kAloneColumns) {
    // Neighbouring channels together.
    for (std::int64_t at = 0; at < box.columns; at += kPredictedColumns) {
      const std::int64_t width =
          std::min<std::int64_t>(kPredictedColumns, box.columns - at);
      PredictStrip<kDtype, kSquares>(a, b, box.Columns(at, width), channels);
    }
    return;
  }
  for (const auto& [channel, column, width] : EachChannel(box)) {
    PredictChannel<kDtype, kSquares>(
        a, b, box.Columns(column, std::min(width, kSampleColumns)),
        channels[channel]);
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_PREDICT_BOX_INL_H_
