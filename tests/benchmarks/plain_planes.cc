#include "tests/benchmarks/plain_planes.h"

#include <algorithm>
#include <cstdint>

#include "tests/benchmarks/plain_layer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/benchmarks/plain_planes.cc"
#include <hwy/foreach_target.h>
// The first include stays first.
#include "tests/benchmarks/plain_segments-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::benchmark::HWY_NAMESPACE {

// The channels [first, first + size) of a batch, one run of memory an example.
struct Group {
  std::int64_t first;
  std::int64_t size;
  Affine affine[kMaxGroup];
};

template <bool kBackward>
void SumGroup(const PlainBatch& batch, PlainLayer& layer, Group& group) {
  HWY_ALIGN double sums[kMaxGroup][kMaxLanes] = {};
  HWY_ALIGN double products[kMaxGroup][kMaxLanes] = {};
  for (std::int64_t n = 0; n < batch.batch; ++n) {
    for (std::int64_t c = 0; c < group.size; ++c) {
      const std::int64_t at =
          (n * batch.channels + group.first + c) * batch.pixels;
      SumSegment<kBackward>(batch.x + at, batch.dy + at, batch.pixels, sums[c],
                            products[c]);
    }
  }
  for (std::int64_t c = 0; c < group.size; ++c) {
    group.affine[c] = FinishPlain(batch, group.first + c, TotalOf(sums[c]),
                                  TotalOf(products[c]), layer);
  }
}

// A run of an example, by way of the buffer: what is written to memory in
// bursts of whole lines does not stand in the way of what is read.
template <bool kBackward>
void StreamGroup(const PlainBatch& batch, const Group& group, std::int64_t run,
                 std::int64_t ahead) {
  HWY_ALIGN float buffer[kRunValues + kMaxLanes];
  std::int64_t filled = 0;
  std::int64_t written = run;
  for (std::int64_t c = 0; c < group.size; ++c) {
    for (std::int64_t i = 0; i < batch.pixels;) {
      const std::int64_t at = run + c * batch.pixels + i;
      const std::int64_t size = std::min(batch.pixels - i, kRunValues - filled);
      ApplySegment<kBackward>(batch.x + at, batch.dy + at, group.affine[c],
                              size, ahead, buffer + filled);
      filled += size;
      i += size;
      if (filled < kRunValues) continue;
      StreamRun(buffer, filled, batch.out + written);
      written += filled;
      filled = 0;
    }
  }
  StreamRun(buffer, filled, batch.out + written);
}

template <bool kBackward>
void StoreGroup(const PlainBatch& batch, const Group& group, std::int64_t run,
                std::int64_t ahead) {
  for (std::int64_t c = 0; c < group.size; ++c) {
    const std::int64_t at = run + c * batch.pixels;
    ApplySegment<kBackward>(batch.x + at, batch.dy + at, group.affine[c],
                            batch.pixels, ahead, batch.out + at);
  }
}

// `ahead`: how far from what is read is what the next group reads; 0: nowhere.
template <bool kBackward>
void ApplyGroup(const PlainBatch& batch, const Group& group,
                std::int64_t ahead) {
  const auto apply =
      batch.is_streamed() ? StreamGroup<kBackward> : StoreGroup<kBackward>;
  for (std::int64_t n = 0; n < batch.batch; ++n) {
    apply(batch, group, (n * batch.channels + group.first) * batch.pixels,
          ahead);
  }
}

template <bool kBackward>
void PlanesOf(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
              std::int64_t step, PlainLayer& layer) {
  const std::int64_t ahead =
      batch.ValuesOf(step) <= kCacheValues ? step * batch.pixels : 0;
  for (std::int64_t first = begin; first < end; first += step) {
    Group group{first, std::min(step, end - first), {}};
    SumGroup<kBackward>(batch, layer, group);
    const bool has_next = first + 2 * step <= end;
    ApplyGroup<kBackward>(batch, group, has_next ? ahead : 0);
  }
  if (batch.is_streamed()) hwy::FlushStream();
}

// The channels [begin, end), in groups of `step`.
void Planes(const PlainBatch& batch, std::int64_t begin, std::int64_t end,
            std::int64_t step, PlainLayer& layer) {
  const auto part = batch.is_forward ? PlanesOf<false> : PlanesOf<true>;
  part(batch, begin, end, step, layer);
}

}  // namespace batchnorm::benchmark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::benchmark {

HWY_EXPORT(Planes);

namespace {

// Channels a group: as long a run as the buffer, as far as the cache allows.
std::int64_t GroupSize(const PlainBatch& batch) {
  return std::clamp<std::int64_t>(
      std::min(kRunValues / batch.pixels, kCacheValues / batch.ValuesOf(1)), 1,
      kMaxGroup);
}

}  // namespace

void PlainPlanes(const PlainBatch& batch, PlainLayer& layer,
                 kernel::Workers& workers) {
  const std::int64_t step = GroupSize(batch);
  const std::int64_t groups = (batch.channels + step - 1) / step;
  const std::int64_t parts = std::min<std::int64_t>(workers.threads(), groups);
  const std::int64_t channels = (groups + parts - 1) / parts * step;
  workers.Run(parts, [&](std::int64_t part) {
    const std::int64_t begin = std::min(part * channels, batch.channels);
    HWY_DYNAMIC_DISPATCH(Planes)
    (batch, begin, std::min(begin + channels, batch.channels), step, layer);
  });
}

}  // namespace batchnorm::benchmark
#endif  // HWY_ONCE
