#include "tests/benchmarks/plain_rows.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/benchmarks/plain_columns.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/benchmarks/plain_rows.cc"
#include <hwy/foreach_target.h>
// The first include stays first.
#include "tests/benchmarks/plain_segments-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::benchmark::HWY_NAMESPACE {

constexpr std::int64_t kTileRows = 8;

// Adds kRows rows to the sums of their columns. The vectors that reach beyond
// the last column add what the next row begins with to places nobody reads.
template <bool kBackward, std::int64_t kRows>
void SumTile(const PlainBatch& batch, std::int64_t row, SumColumns& columns) {
  const DoubleTag d;
  const std::int64_t lanes = Lanes();
  const std::int64_t first = row * batch.channels;
  const std::int64_t ahead =
      std::max<std::int64_t>(kTileRows * batch.channels, std::int64_t{2048});
  for (std::int64_t c = 0; c < batch.channels; c += lanes) {
    double* const sum = columns.sum.data() + c;
    double* const products = columns.products.data() + c;
    Sums sums{hn::LoadU(d, sum), hn::LoadU(d, products)};
    for (std::int64_t r = 0; r < kRows; ++r) {
      const std::int64_t at = first + r * batch.channels + c;
      PrefetchL2(batch.x + at + ahead);
      if constexpr (kBackward) PrefetchL2(batch.dy + at + ahead);
      AddFrom<kBackward>(batch.x + at, batch.dy + at, sums);
    }
    hn::StoreU(sums.sum, d, sum);
    hn::StoreU(sums.products, d, products);
  }
}

template <bool kBackward>
void SumRowsOf(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
               SumColumns& columns) {
  std::int64_t row = begin;
  for (; row + kTileRows <= end; row += kTileRows) {
    SumTile<kBackward, kTileRows>(batch, row, columns);
  }
  for (; row < end; ++row) SumTile<kBackward, 1>(batch, row, columns);
}

void SumRows(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
             SumColumns& columns) {
  batch.is_forward ? SumRowsOf<false>(batch, begin, end, columns)
                   : SumRowsOf<true>(batch, begin, end, columns);
}

// Writes up to a vector of floats beyond the end of the row.
template <bool kBackward, bool kStream>
void ApplyRow(const PlainBatch& batch, std::int64_t row,
              const AffineColumns& affine, float* out) {
  const DoubleTag d;
  const std::int64_t lanes = Lanes();
  const float* const x = batch.x + row * batch.channels;
  const float* const dy = batch.dy + row * batch.channels;
  const auto half = [&](std::int64_t c) {
    return ApplyHalf<kBackward>(x + c, dy + c,
                                {hn::LoadU(d, affine.scale.data() + c),
                                 hn::LoadU(d, affine.slope.data() + c),
                                 hn::LoadU(d, affine.offset.data() + c)});
  };
  for (std::int64_t c = 0; c < batch.channels; c += 2 * lanes) {
    PrefetchL2(x + c + kRunValues);
    if constexpr (kBackward) PrefetchL2(dy + c + kRunValues);
    StoreHalves<kStream>(half(c), half(c + lanes), out + c);
  }
}

// Rows of any length, in runs that go through a buffer in L1.
template <bool kBackward, bool kStream>
void ApplyRuns(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
               const AffineColumns& affine) {
  const std::int64_t step =
      std::max<std::int64_t>(1, kRunValues / batch.channels);
  std::vector<float> buffer(static_cast<std::size_t>(step * batch.channels) +
                            2 * kMaxLanes);
  for (std::int64_t row = begin; row < end; row += step) {
    const std::int64_t rows = std::min(step, end - row);
    for (std::int64_t r = 0; r < rows; ++r) {
      ApplyRow<kBackward, false>(batch, row + r, affine,
                                 buffer.data() + r * batch.channels);
    }
    float* const out = batch.out + row * batch.channels;
    const std::int64_t size = rows * batch.channels;
    if constexpr (kStream) {
      StreamRun(buffer.data(), size, out);
    } else {
      std::memcpy(out, buffer.data(), static_cast<std::size_t>(size) * 4);
    }
  }
}

template <bool kBackward, bool kStream>
void ApplyRowsOf(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
                 const AffineColumns& affine) {
  if (batch.channels % (2 * Lanes()) == 0) {
    for (std::int64_t row = begin; row < end; ++row) {
      ApplyRow<kBackward, kStream>(batch, row, affine,
                                   batch.out + row * batch.channels);
    }
  } else {
    ApplyRuns<kBackward, kStream>(batch, begin, end, affine);
  }
  if constexpr (kStream) hwy::FlushStream();
}

void ApplyRows(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
               const AffineColumns& affine) {
  if (batch.is_forward) {
    const auto part = batch.is_streamed() ? ApplyRowsOf<false, true>
                                          : ApplyRowsOf<false, false>;
    return part(batch, begin, end, affine);
  }
  const auto part =
      batch.is_streamed() ? ApplyRowsOf<true, true> : ApplyRowsOf<true, false>;
  part(batch, begin, end, affine);
}

}  // namespace batchnorm::benchmark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::benchmark {

HWY_EXPORT(SumRows);
HWY_EXPORT(ApplyRows);

namespace {

AffineColumns Finish(const PlainBatch& batch,
                     const std::vector<SumColumns>& parts, PlainLayer& layer) {
  AffineColumns columns(batch.channels);
  for (std::int64_t channel = 0; channel < batch.channels; ++channel) {
    const auto c = static_cast<std::size_t>(channel);
    double sum = 0;
    double products = 0;
    for (const SumColumns& part : parts) {
      sum += part.sum[c];
      products += part.products[c];
    }
    const Affine affine = FinishPlain(batch, channel, sum, products, layer);
    columns.scale[c] = affine.scale;
    columns.slope[c] = affine.slope;
    columns.offset[c] = affine.offset;
  }
  return columns;
}

}  // namespace

void PlainRows(const PlainBatch& batch, PlainLayer& layer,
               kernel::Workers& workers) {
  const std::int64_t rows = batch.batch * batch.pixels;
  constexpr std::int64_t kWorthAThread = 1 << 15;
  const std::int64_t count = std::clamp<std::int64_t>(
      batch.size() / kWorthAThread, 1, workers.threads());
  const std::int64_t step = (rows + count - 1) / count;
  const auto end = [&](std::int64_t part) {
    return std::min((part + 1) * step, rows);
  };
  std::vector<SumColumns> parts(static_cast<std::size_t>(count),
                                SumColumns(batch.channels));
  workers.Run(count, [&](std::int64_t part) {
    HWY_DYNAMIC_DISPATCH(SumRows)
    (batch, part * step, end(part), parts[static_cast<std::size_t>(part)]);
  });
  const AffineColumns affine = Finish(batch, parts, layer);
  workers.Run(count, [&](std::int64_t part) {
    HWY_DYNAMIC_DISPATCH(ApplyRows)(batch, part * step, end(part), affine);
  });
}

}  // namespace batchnorm::benchmark
#endif  // HWY_ONCE
