#include "server/kernel/fast_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_sums.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, and in this order.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "server/kernel/caches.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/predict_box-inl.h"
#include "server/kernel/sum_columns-inl.h"
#include "server/kernel/sum_runs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Whether a channel at a time is summed, its accumulators in registers: with
// many columns each; and with few rows, whose elements take less time than the
// accumulators that columns have in memory take to begin and to close.
inline bool IsSummedInRuns(const Box& box) {
  constexpr std::int64_t kManyColumns = 32;
  constexpr std::int64_t kFewRows = 128;  // by lanes: 32 of four, 16 of eight
  const auto lanes = static_cast<std::int64_t>(LaneCount());
  const std::int64_t columns = std::min(box.inner, box.columns);
  if (columns >= kManyColumns) return true;
  return columns >= 2 * lanes && box.rows * lanes <= kFewRows;
}

template <Dtype kDtype, bool kSquares>
void AddBox(const std::byte* a, const std::byte* b, std::int64_t size,
            const Box& box, bool only_predict, ChannelTotals* channels) {
  const auto* a_bits = reinterpret_cast<const BitsOf<kDtype>*>(a);
  const auto* b_bits = reinterpret_cast<const BitsOf<kDtype>*>(b);
  PredictBox<kDtype, kSquares>(a_bits, b_bits, box, channels);
  if (only_predict) return;
  const auto bytes = static_cast<std::size_t>(size) * SizeOf(kDtype);
  if (IsSummedInRuns(box)) {
    const bool from_memory =
        kSquares ? ComesFromMemory(bytes) : PairComesFromMemory(bytes);
    SumRuns<kDtype, kSquares>(a_bits, b_bits, from_memory, box, channels);
  } else {
    const bool from_memory = kSquares ? IsFetched(bytes) : PairIsFetched(bytes);
    ForEachFolded(box, FoldFor(box, FoldedColumns(from_memory)),
                  [&](const Box& part) {
                    SumColumns<kDtype, kSquares>(a_bits, b_bits, size,
                                                 from_memory, part, channels);
                  });
  }
}

template <bool kSquares>
void AddBoxOf(Dtype dtype, const std::byte* a, const std::byte* b,
              std::int64_t size, const Box& box, bool only_predict,
              ChannelTotals* channels) {
  switch (dtype) {
    case Dtype::kF16:
      return AddBox<Dtype::kF16, kSquares>(a, b, size, box, only_predict,
                                           channels);
    case Dtype::kBF16:
      return AddBox<Dtype::kBF16, kSquares>(a, b, size, box, only_predict,
                                            channels);
    case Dtype::kF32:
      return AddBox<Dtype::kF32, kSquares>(a, b, size, box, only_predict,
                                           channels);
    case Dtype::kF64:
      return AddBox<Dtype::kF64, kSquares>(a, b, size, box, only_predict,
                                           channels);
  }
}

void AddSquares(Dtype dtype, const std::byte* x, std::int64_t size,
                const Box& box, bool only_predict, ChannelTotals* channels) {
  AddBoxOf<true>(dtype, x, x, size, box, only_predict, channels);
}

void AddProducts(Dtype dtype, const std::byte* dy, const std::byte* x,
                 std::int64_t size, const Box& box, bool only_predict,
                 ChannelTotals* channels) {
  AddBoxOf<false>(dtype, dy, x, size, box, only_predict, channels);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(AddSquares);
HWY_EXPORT(AddProducts);

void AddForwardBox(TensorView x, const Box& box, ChannelTotals* channels) {
  HWY_DYNAMIC_DISPATCH(AddSquares)
  (x.dtype, x.bytes.data(), x.size(), box, false, channels);
}

void AddBackwardBox(TensorView x, TensorView dy, const Box& box,
                    ChannelTotals* channels) {
  HWY_DYNAMIC_DISPATCH(AddProducts)
  (x.dtype, dy.bytes.data(), x.bytes.data(), x.size(), box, false, channels);
}

void PredictForwardBox(TensorView x, const Box& box, ChannelTotals* channels) {
  HWY_DYNAMIC_DISPATCH(AddSquares)
  (x.dtype, x.bytes.data(), x.size(), box, true, channels);
}

void PredictBackwardBox(TensorView x, TensorView dy, const Box& box,
                        ChannelTotals* channels) {
  HWY_DYNAMIC_DISPATCH(AddProducts)
  (x.dtype, dy.bytes.data(), x.bytes.data(), x.size(), box, true, channels);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
