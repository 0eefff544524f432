// The rows of a strip of columns, added to its accumulators: the loop that
// matters for NHWC, N x C and small planes.
//
// Rows go a tile at a time, so that what is known of a column is loaded and
// stored once in a tile. A tensor that comes from memory is fetched some rows
// ahead, one row after the other, which is quicker than several at a time. What
// lies in the caches is not fetched: to ask for a line twice takes the time of
// the caches twice.
#if defined(BATCHNORMD_SERVER_KERNEL_ADD_COLUMNS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_ADD_COLUMNS_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_ADD_COLUMNS_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_ADD_COLUMNS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/accumulate-inl.h"
#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/certified_block-inl.h"
#include "server/kernel/column_extremes-inl.h"
#include "server/kernel/column_probes-inl.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/unit_probe-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// A strip's accumulators and the tile at work share the first-level cache. Of
// tensors that come from memory rather whole rows, of which less has to stay.
inline constexpr std::size_t kStripColumns = 1024;
inline constexpr std::size_t kCachedStripColumns = 768;
inline constexpr std::int64_t kTileRows = 4;
inline constexpr std::size_t kStripRoom = kStripColumns + 2 * kScanRoom;

// The rows that are added: how many columns, how far apart they are, and
// whether they come from memory or from a cache.
struct StripRows {
  std::size_t width;
  std::int64_t row_stride;  // in elements
  bool from_memory;
};

// What is known of a strip's columns, since it was begun (sum_columns-inl.h).
// Entry j of everything is a column.
template <Dtype kDtype, bool kSquares>
class ColumnAccumulators {
 public:
  using Bits = BitsOf<kDtype>;
  static constexpr std::size_t kCount = kSumsOf<kDtype>;
  static constexpr bool kScans = kScansWhileSumming<kDtype, kSquares>;
  static constexpr bool kProbes = kProbesUnits<kDtype>;
  // Squares of few digits, of which the upper slice alone takes nearly all.
  static constexpr bool kTriesUpperIfLarge =
      kScans && kScansPairs<kDtype> && kSquares && kDtype == Dtype::kBF16;

  // NOLINTNEXTLINE(modernize-use-equals-default): zeroes nothing
  ColumnAccumulators() {}

  // How many columns are added, some of them behind the last one.
  static std::size_t Padded(std::size_t width) {
    const std::size_t step = std::max(2 * LaneCount(), StepColumns());
    return (width + step - 1) / step * step;
  }

  // Adds rows from `a` and `b` on, of which `readable` elements can be read, to
  // the sums, and what certifies these to probes or extremes. Returns how many
  // columns, counted once a tile, had values too small for kUpperIfLarge.
  template <Slices kSlices>
  std::size_t AddRows(const StripRows& strip, const Bits* a, const Bits* b,
                      std::int64_t readable, std::int64_t rows) {
    small_columns_ = 0;
    const std::int64_t most = TileRows(strip.from_memory);
    for (std::int64_t row = 0; row < rows; row += most) {
      const auto tile_rows =
          static_cast<std::size_t>(std::min(most, rows - row));
      const Bits* a_rows[kTileRows];
      const Bits* b_rows[kTileRows];
      for (std::size_t r = 0; r < tile_rows; ++r) {
        const std::int64_t offset =
            (row + static_cast<std::int64_t>(r)) * strip.row_stride;
        a_rows[r] =
            Readable(a + offset, strip.width, readable - offset, a_copy_[r]);
        if constexpr (!kSquares) {
          b_rows[r] =
              Readable(b + offset, strip.width, readable - offset, b_copy_[r]);
        } else {
          b_rows[r] = a_rows[r];
        }
      }
      const std::int64_t next = (row + kRowsFetched) * strip.row_stride;
      if (tile_rows == kTileRows) {
        AddTile<kSlices>(strip, a_rows, b_rows, kTileRows, a + next, b + next);
      } else if (tile_rows == 1) {
        AddTile<kSlices>(strip, a_rows, b_rows, 1, a + next, b + next);
      } else {
        AddTile<kSlices>(strip, a_rows, b_rows, tile_rows, a + next, b + next);
      }
    }
    return small_columns_;
  }

  HWY_ALIGN double sums[kCount][kStripRoom];
  ColumnProbes<kSquares, kStripRoom> probes;
  ColumnExtremes<kDtype, kSquares, kStripRoom> extremes;

 private:
  // How far ahead rows are fetched.
  static constexpr std::int64_t kRowsFetched = 2 * kTileRows;

  // Two tensors come from memory quickest as two streams: row by row, as long
  // as the accumulators, loaded and stored for each, take less time than that,
  // which vectors of fewer than eight lanes do not.
  static std::int64_t TileRows(bool from_memory) {
    constexpr bool kWaitsForMemory = !kSquares && kDtype == Dtype::kF32;
    const bool row_by_row = kWaitsForMemory && LaneCount() >= 8;
    return row_by_row && from_memory ? 1 : kTileRows;
  }

  // Columns that are added at once.
  static std::size_t StepColumns() {
    return (kTriesUpperIfLarge ? 2 : 1) * ScanLanes<kDtype>();
  }

  // Fetches a line after the other; the same one, which costs nothing, if step
  // is 0.
  struct Fetch {
    const Bits* a;
    const Bits* b;
    std::size_t step;  // in elements

    HWY_INLINE void Next() {
      PrefetchFar(a);
      a += step;
      if constexpr (kSquares) return;
      PrefetchFar(b);
      b += step;
    }
  };

  // A row from which whole vectors can be read: itself, or a copy where that
  // would read past the tensor.
  static const Bits* Readable(const Bits* row, std::size_t width,
                              std::int64_t readable, Bits* copy) {
    const auto wanted = static_cast<std::int64_t>(Padded(width) + kScanRoom);
    if (HWY_LIKELY(wanted <= readable)) return row;
    std::memcpy(copy, row, width * sizeof(Bits));
    std::memset(copy + width, 0,
                (static_cast<std::size_t>(wanted) - width) * sizeof(Bits));
    return copy;
  }

  // Adds a tile's rows, column by column: what is known of a column is loaded
  // and stored once. Reads every element once from memory. While a part of the
  // columns is added, one of as many rows from `a_next` and `b_next` on is
  // fetched.
  template <Slices kSlices>
  HWY_INLINE void AddTile(const StripRows& strip, const Bits* const* a_rows,
                          const Bits* const* b_rows, std::size_t count,
                          const Bits* a_next, const Bits* b_next) {
    const std::size_t step = StepColumns();
    // What is behind the last column must not raise the flag.
    constexpr bool kWatched = kSeesInexact || kSlices == Slices::kUpper;
    const std::size_t whole =
        kWatched ? strip.width - strip.width % step : strip.width;
    std::size_t j = 0;
    for (std::size_t part = 1; part <= count; ++part) {
      Fetch fetch = {a_next, b_next, strip.from_memory ? step : 0};
      const std::size_t end = part == count ? whole : part * whole / count;
      for (; j < end; j += step) {
        AddVectors<kSlices>(a_rows, b_rows, count, j, fetch,
                            [](const Bits* from, std::size_t)
                                HWY_ATTR { return LoadWide<kDtype>(from); });
      }
      a_next += strip.row_stride;
      b_next += strip.row_stride;
    }
    if (!kWatched || whole == strip.width) return;
    Fetch nothing = {a_next, b_next, 0};
    AddVectors<kSlices>(a_rows, b_rows, count, whole, nothing,
                        [&](const Bits* from, std::size_t k) HWY_ATTR {
                          return LoadWideFirst<kDtype>(
                              from, strip.width - HWY_MIN(k, strip.width));
                        });
  }

  // Columns j and on, StepColumns() of them; `load` reads a vector of columns k
  // and on.
  template <Slices kSlices, class Load>
  HWY_INLINE void AddVectors(const Bits* const* a_rows,
                             const Bits* const* b_rows, std::size_t count,
                             std::size_t j, Fetch& fetch, const Load& load) {
    if constexpr (kTriesUpperIfLarge) {
      Fetch nothing = {fetch.a, fetch.b, 0};
      constexpr bool kTries = kSlices == Slices::kUpperIfLarge;
      if constexpr (kTries) {
        if (HWY_LIKELY(AddIfLarge(a_rows, count, j, fetch, load))) return;
        small_columns_ += StepColumns();
      }
      AddPair<Slices::kTwo>(a_rows, b_rows, count, j, kTries ? nothing : fetch,
                            load);
      AddPair<Slices::kTwo>(a_rows, b_rows, count, j + 2 * LaneCount(), nothing,
                            load);
    } else if constexpr (kScansPairs<kDtype>) {
      AddPair<kSlices>(a_rows, b_rows, count, j, fetch, load);
    } else {
      AddVector(a_rows, b_rows, count, j, fetch, load);
    }
  }

  // Four vectors of columns, their squares in the upper slice alone; or returns
  // false and adds nothing, if any value is too small for that. (One that is
  // not is large enough for two slices as well, and not noted in extremes.)
  template <class Load>
  HWY_INLINE bool AddIfLarge(const Bits* const* rows, std::size_t count,
                             std::size_t j, Fetch& fetch, const Load& load) {
    const DoubleTag d;
    const hn::Twice<ScanTag<kDtype>> ds;
    const std::size_t k = j + LaneCount(), l = k + LaneCount();
    const std::size_t m = l + LaneCount();
    auto sum_j = hn::Load(d, sums[0] + j), sum_k = hn::Load(d, sums[0] + k);
    auto sum_l = hn::Load(d, sums[0] + l), sum_m = hn::Load(d, sums[0] + m);
    auto top_j = hn::Load(d, sums[1] + j), top_k = hn::Load(d, sums[1] + k);
    auto top_l = hn::Load(d, sums[1] + l), top_m = hn::Load(d, sums[1] + m);
    const auto large = hn::LoadU(ds, extremes.a_large + j);
    auto least = large;
    for (std::size_t r = 0; r < count; ++r) {
      const auto add = [&](std::size_t column, DoubleVector& sum,
                           DoubleVector& top) BN_IN_THE_LOOP {
        const auto a = load(rows[r] + column, column);
        sum = AddAside(a, sum);
        top = hn::MulAdd(a, a, top);
      };
      fetch.Next();
      auto greatest = least;
      ScanVector<kDtype>(hn::LoadU(ds, rows[r] + j), least, greatest);
      add(j, sum_j, top_j);
      add(k, sum_k, top_k);
      add(l, sum_l, top_l);
      add(m, sum_m, top_m);
    }
    if (!hn::AllTrue(ds, hn::Eq(least, large))) return false;
    hn::Store(sum_j, d, sums[0] + j);
    hn::Store(sum_k, d, sums[0] + k);
    hn::Store(sum_l, d, sums[0] + l);
    hn::Store(sum_m, d, sums[0] + m);
    hn::Store(top_j, d, sums[1] + j);
    hn::Store(top_k, d, sums[1] + k);
    hn::Store(top_l, d, sums[1] + l);
    hn::Store(top_m, d, sums[1] + m);
    return true;
  }

  // Two vectors of columns of narrow elements.
  template <Slices kSlices, class Load>
  HWY_INLINE void AddPair(const Bits* const* a_rows, const Bits* const* b_rows,
                          std::size_t count, std::size_t j, Fetch& fetch,
                          const Load& load) {
    constexpr bool kScansNow = kScans && kSlices == Slices::kTwo;
    const DoubleTag d;
    const ScanTag<kDtype> ds;
    const std::size_t k = j + LaneCount();
    auto sum_j = hn::Load(d, sums[0] + j), sum_k = hn::Load(d, sums[0] + k);
    auto top_j = hn::Load(d, sums[1] + j), top_k = hn::Load(d, sums[1] + k);
    auto rest_j = hn::Load(d, sums[2] + j), rest_k = hn::Load(d, sums[2] + k);
    auto a_least = hn::LoadU(ds, extremes.a_least + j);
    auto a_greatest =
        kSquares ? a_least : hn::LoadU(ds, extremes.a_greatest + j);
    auto b_least = kSquares ? a_least : hn::LoadU(ds, extremes.b_least + j);
    auto b_greatest =
        kSquares ? a_least : hn::LoadU(ds, extremes.b_greatest + j);
    const ProbeTag df;
    const auto a_factor = hn::LoadU(df, probes.a.factor + j);
    const auto b_factor = hn::LoadU(df, probes.b.factor + j);
    auto a_squares = hn::LoadU(df, probes.a.squares + j);
    auto b_squares = hn::LoadU(df, probes.b.squares + j);
    for (std::size_t r = 0; r < count; ++r) {
      const Bits* const a = a_rows[r] + j;
      const Bits* const b = b_rows[r] + j;
      fetch.Next();
      if constexpr (kProbes) {
        ProbeVector<kSquares>(hn::BitCast(df, hn::LoadU(ds, a)), a_factor,
                              a_squares);
      }
      if constexpr (kProbes && !kSquares) {
        ProbeVector<kSquares>(hn::BitCast(df, hn::LoadU(ds, b)), b_factor,
                              b_squares);
      }
      if constexpr (kScansNow) {
        ScanVector<kDtype>(hn::LoadU(ds, a), a_least, a_greatest);
      }
      if constexpr (kScansNow && !kSquares) {
        ScanVector<kDtype>(hn::LoadU(ds, b), b_least, b_greatest);
      }
      const auto a_j = load(a, j);
      const auto a_k = load(a + LaneCount(), k);
      const auto b_j = kSquares ? a_j : load(b, j);
      const auto b_k = kSquares ? a_k : load(b + LaneCount(), k);
      sum_j = AddAside(a_j, sum_j);
      sum_k = AddAside(a_k, sum_k);
      if constexpr (kSlices == Slices::kUpper) {
        top_j = hn::MulAdd(a_j, b_j, top_j);
        top_k = hn::MulAdd(a_k, b_k, top_k);
      } else {
        AddExactProduct(a_j, b_j, top_j, rest_j);
        AddExactProduct(a_k, b_k, top_k, rest_k);
      }
    }
    hn::Store(sum_j, d, sums[0] + j);
    hn::Store(sum_k, d, sums[0] + k);
    hn::Store(top_j, d, sums[1] + j);
    hn::Store(top_k, d, sums[1] + k);
    if constexpr (kSlices == Slices::kTwo) {
      hn::Store(rest_j, d, sums[2] + j);
      hn::Store(rest_k, d, sums[2] + k);
    }
    if constexpr (kProbes && !kSquares) {
      hn::StoreU(a_squares, df, probes.a.squares + j);
      hn::StoreU(b_squares, df, probes.b.squares + j);
    }
    if constexpr (kScansNow) hn::StoreU(a_least, ds, extremes.a_least + j);
    if constexpr (kScansNow && !kSquares) {
      hn::StoreU(a_greatest, ds, extremes.a_greatest + j);
      hn::StoreU(b_least, ds, extremes.b_least + j);
      hn::StoreU(b_greatest, ds, extremes.b_greatest + j);
    }
  }

  // One vector of columns.
  template <class Load>
  HWY_INLINE void AddVector(const Bits* const* a_rows,
                            const Bits* const* b_rows, std::size_t count,
                            std::size_t j, Fetch& fetch, const Load& load) {
    constexpr bool kWide = Certificate<kDtype>::kWide;
    const DoubleTag d;
    const ScanTag<kDtype> ds;
    auto sum = hn::Load(d, sums[0] + j);
    auto top = hn::Load(d, sums[1] + j);
    auto rest = hn::Load(d, sums[2] + j);
    auto sum_rest = kWide ? hn::Load(d, sums[kCount - 3] + j) : sum;
    auto error = kWide ? hn::Load(d, sums[kCount - 2] + j) : sum;
    auto error_rest = kWide ? hn::Load(d, sums[kCount - 1] + j) : sum;
    auto a_least = hn::LoadU(ds, extremes.a_least + j);
    auto a_greatest =
        kSquares ? a_least : hn::LoadU(ds, extremes.a_greatest + j);
    auto b_least = kSquares ? a_least : hn::LoadU(ds, extremes.b_least + j);
    auto b_greatest =
        kSquares ? a_least : hn::LoadU(ds, extremes.b_greatest + j);
    for (std::size_t r = 0; r < count; ++r) {
      fetch.Next();
      const auto a = load(a_rows[r] + j, j);
      if constexpr (kScans) {
        ScanVector<kDtype>(hn::LoadU(ds, a_rows[r] + j), a_least, a_greatest);
      }
      auto b = a;
      if constexpr (!kSquares) {
        b = load(b_rows[r] + j, j);
      }
      if constexpr (kScans && !kSquares) {
        ScanVector<kDtype>(hn::LoadU(ds, b_rows[r] + j), b_least, b_greatest);
      }
      if constexpr (kWide) {
        sum_rest = hn::Add(sum_rest, TakeSlice(sum, a));
        AddWideProduct(a, b, top, rest, error, error_rest);
      } else {
        sum = AddAside(a, sum);
        AddExactProduct(a, b, top, rest);
      }
    }
    hn::Store(sum, d, sums[0] + j);
    hn::Store(top, d, sums[1] + j);
    hn::Store(rest, d, sums[2] + j);
    if constexpr (kWide) {
      hn::Store(sum_rest, d, sums[3] + j);
      hn::Store(error, d, sums[4] + j);
      hn::Store(error_rest, d, sums[5] + j);
    }
    if constexpr (kScans) hn::StoreU(a_least, ds, extremes.a_least + j);
    if constexpr (kScans && !kSquares) {
      hn::StoreU(a_greatest, ds, extremes.a_greatest + j);
      hn::StoreU(b_least, ds, extremes.b_least + j);
      hn::StoreU(b_greatest, ds, extremes.b_greatest + j);
    }
  }

  std::size_t small_columns_ = 0;
  // Rows at the very end of a tensor.
  HWY_ALIGN Bits a_copy_[kTileRows][kStripRoom];
  HWY_ALIGN Bits b_copy_[kTileRows][kStripRoom];
};

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_ADD_COLUMNS_INL_H_
