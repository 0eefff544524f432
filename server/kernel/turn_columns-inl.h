// A few columns of a tensor as runs: where columns are to be summed one by one.
// As many together as a line of float holds, so that it is fetched once.
#if defined(BATCHNORMD_SERVER_KERNEL_TURN_COLUMNS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_TURN_COLUMNS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_TURN_COLUMNS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_TURN_COLUMNS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

inline constexpr std::size_t kTurnedColumns = 16;
// How far behind what is turned rows are fetched.
inline constexpr std::int64_t kTurnedAhead = 48;

#if HWY_TARGET != HWY_SCALAR
// Four columns of four rows, as elements r and on of the runs.
template <std::size_t kRoom>
HWY_INLINE void TurnFour(const std::uint32_t* from, std::int64_t row_stride,
                         std::int64_t r, std::uint32_t (*to)[kRoom]) {
  const hn::FixedTag<std::uint32_t, 4> d;
  const hn::FixedTag<std::uint64_t, 2> pairs;
  const auto row0 = hn::LoadU(d, from);
  const auto row1 = hn::LoadU(d, from + row_stride);
  const auto row2 = hn::LoadU(d, from + 2 * row_stride);
  const auto row3 = hn::LoadU(d, from + 3 * row_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  const auto store = [&](auto column, std::size_t k) HWY_ATTR {
    hn::StoreU(hn::BitCast(d, column), d, to[k] + r);
  };
  store(hn::InterleaveLower(pairs, low01, low23), 0);
  store(hn::InterleaveUpper(pairs, low01, low23), 1);
  store(hn::InterleaveLower(pairs, high01, high23), 2);
  store(hn::InterleaveUpper(pairs, high01, high23), 3);
}
#endif

// REQUIRES: columns <= kTurnedColumns, rows <= kRoom.
template <typename Bits, std::size_t kRoom>
HWY_INLINE void TurnColumns(const Bits* from, std::int64_t row_stride,
                            std::int64_t rows, std::size_t columns,
                            Bits (*to)[kRoom]) {
  std::int64_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(Bits) == sizeof(std::uint32_t)) {
    for (; columns == kTurnedColumns && r + 4 <= rows; r += 4) {
      const Bits* const row = from + r * row_stride;
      for (std::int64_t i = 0; i < 4; ++i) {
        PrefetchFar(row + (kTurnedAhead + i) * row_stride);
      }
      for (std::size_t k = 0; k < kTurnedColumns; k += 4) {
        TurnFour(row + k, row_stride, r, to + k);
      }
    }
  }
#endif
  for (; r < rows; ++r) {
    const Bits* const row = from + r * row_stride;
    PrefetchFar(row + kTurnedAhead * row_stride);
    if (HWY_LIKELY(columns == kTurnedColumns)) {
      for (std::size_t k = 0; k < kTurnedColumns; ++k) to[k][r] = row[k];
    } else {
      for (std::size_t k = 0; k < columns; ++k) to[k][r] = row[k];
    }
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_TURN_COLUMNS_INL_H_
