#include "tests/benchmarks/copy_peer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/benchmarks/copy_peer.cc"
#include <hwy/foreach_target.h>
// The first include stays first.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace batchnorm::benchmark::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// REQUIRES (all): out is aligned to a cache line, and the arrays may be read
// and written up to the next multiple of a vector.
void StreamingCopy(const float* x, float* out, std::int64_t size) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < size; i += lanes) {
    hn::Stream(hn::LoadU(d, x + i), d, out + i);
  }
  hwy::FlushStream();
}

void CachedSum(const float* x, const float* dy, float* out, std::int64_t size) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < size; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, dy + i)), d, out + i);
  }
}

void StreamingSum(const float* x, const float* dy, float* out,
                  std::int64_t size) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < size; i += lanes) {
    hn::Stream(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, dy + i)), d, out + i);
  }
  hwy::FlushStream();
}

}  // namespace batchnorm::benchmark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::benchmark {

HWY_EXPORT(StreamingCopy);
HWY_EXPORT(CachedSum);
HWY_EXPORT(StreamingSum);

namespace {

constexpr std::int64_t kLine = 16;  // floats

// Calls part(first, size) for the parts of the threads; all begin with a cache
// line. What is too small for two threads goes to one.
template <typename Part>
void InParts(std::int64_t size, kernel::Workers& workers, const Part& part) {
  constexpr std::int64_t kWorthAThread = 1 << 15;
  const std::int64_t parts =
      std::clamp<std::int64_t>(size / kWorthAThread, 1, workers.threads());
  const std::int64_t lines = (size + kLine - 1) / kLine;
  const std::int64_t step = (lines + parts - 1) / parts * kLine;
  workers.Run(parts, [&](std::int64_t i) {
    const std::int64_t first = std::min(i * step, size);
    part(first, std::min(step, size - first));
  });
}

// The arrays of a peer, from some element on.
struct Arrays {
  const float* x;
  const float* dy;
  float* out;
};

using Loop = void (*)(const Arrays& arrays, std::int64_t size);

void Copy(const Arrays& arrays, std::int64_t size) {
  std::memcpy(arrays.out, arrays.x,
              static_cast<std::size_t>(size) * sizeof(float));
}

void CopyStreaming(const Arrays& arrays, std::int64_t size) {
  HWY_DYNAMIC_DISPATCH(StreamingCopy)(arrays.x, arrays.out, size);
}

void Sum(const Arrays& arrays, std::int64_t size) {
  HWY_DYNAMIC_DISPATCH(CachedSum)(arrays.x, arrays.dy, arrays.out, size);
}

void SumStreaming(const Arrays& arrays, std::int64_t size) {
  HWY_DYNAMIC_DISPATCH(StreamingSum)(arrays.x, arrays.dy, arrays.out, size);
}

Peer MakePeer(const Contest& contest, const char* name, Loop loop) {
  return {name, contest.threads(), Timed([contest, loop] {
            const Buffers& buffers = contest.buffers;
            InParts(contest.problem.shape.size(), contest.workers,
                    [&](std::int64_t first, std::int64_t size) {
                      loop({buffers.f32.x.As<float>() + first,
                            buffers.f32.dy.As<float>() + first,
                            buffers.out.As<float>() + first},
                           size);
                    });
          })};
}

}  // namespace

std::vector<Peer> CopyPeers(const Contest& contest) {
  if (contest.is_forward()) {
    return {MakePeer(contest, kCachedCopy, Copy),
            MakePeer(contest, kStreamingCopy, CopyStreaming)};
  }
  return {MakePeer(contest, kCachedCopy, Sum),
          MakePeer(contest, kStreamingCopy, SumStreaming)};
}

}  // namespace batchnorm::benchmark
#endif  // HWY_ONCE
