// Vector loops over stretches of memory, for plain_planes.cc and plain_rows.cc.
#if defined(BATCHNORMD_TESTS_BENCHMARKS_PLAIN_SEGMENTS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_SEGMENTS_INL_H_
#undef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_SEGMENTS_INL_H_
#else
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_SEGMENTS_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tests/benchmarks/plain_layer.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::benchmark::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DoubleTag = hn::ScalableTag<double>;
using HalfTag = hn::Rebind<float, DoubleTag>;  // as many lanes as doubles
using FloatTag = hn::ScalableTag<float>;
using Doubles = hn::Vec<DoubleTag>;

inline constexpr std::size_t kMaxLanes = hn::MaxLanes(DoubleTag());
HWY_INLINE std::int64_t Lanes() {
  return static_cast<std::int64_t>(hn::Lanes(DoubleTag()));
}

HWY_INLINE Doubles Load(const float* from) {
  return hn::PromoteTo(DoubleTag(), hn::LoadU(HalfTag(), from));
}

// The first values; zeros after them.
HWY_INLINE Doubles LoadFirst(const float* from, std::int64_t count) {
  const HalfTag d;
  const auto mask = hn::FirstN(d, static_cast<std::size_t>(count));
  return hn::PromoteTo(DoubleTag(), hn::MaskedLoad(mask, d, from));
}

// Into L2: what is read next must not push out of L1 what is in use.
HWY_INLINE void PrefetchL2(const float* at) { __builtin_prefetch(at, 0, 2); }

// --- Sums ---

// S and Q, or D and P, a part in each lane.
struct Sums {
  Doubles sum;
  Doubles products;
};

HWY_INLINE Sums NoSums() {
  return {hn::Zero(DoubleTag()), hn::Zero(DoubleTag())};
}

template <bool kBackward>
HWY_INLINE void Add(Doubles x, Doubles dy, Sums& sums) {
  const Doubles v = kBackward ? dy : x;
  sums.sum = hn::Add(sums.sum, v);
  sums.products = hn::MulAdd(v, x, sums.products);
}

template <bool kBackward>
HWY_INLINE void AddFrom(const float* x, const float* dy, Sums& sums) {
  const Doubles vx = Load(x);
  Add<kBackward>(vx, kBackward ? Load(dy) : vx, sums);
}

// Adds a segment of one channel to the kMaxLanes parts of its sums.
template <bool kBackward>
HWY_INLINE void SumSegment(const float* x, const float* dy, std::int64_t size,
                           double* HWY_RESTRICT sum,
                           double* HWY_RESTRICT products) {
  const DoubleTag d;
  const std::int64_t lanes = Lanes();
  Sums a{hn::Load(d, sum), hn::Load(d, products)};
  Sums b = NoSums();
  Sums c = NoSums();
  Sums e = NoSums();
  std::int64_t i = 0;
  for (; i + 4 * lanes <= size; i += 4 * lanes) {
    AddFrom<kBackward>(x + i, dy + i, a);
    AddFrom<kBackward>(x + i + lanes, dy + i + lanes, b);
    AddFrom<kBackward>(x + i + 2 * lanes, dy + i + 2 * lanes, c);
    AddFrom<kBackward>(x + i + 3 * lanes, dy + i + 3 * lanes, e);
  }
  for (; i + lanes <= size; i += lanes) AddFrom<kBackward>(x + i, dy + i, b);
  if (i < size) {
    const Doubles vx = LoadFirst(x + i, size - i);
    Add<kBackward>(vx, kBackward ? LoadFirst(dy + i, size - i) : vx, c);
  }
  hn::Store(hn::Add(hn::Add(a.sum, b.sum), hn::Add(c.sum, e.sum)), d, sum);
  hn::Store(
      hn::Add(hn::Add(a.products, b.products), hn::Add(c.products, e.products)),
      d, products);
}

HWY_INLINE double TotalOf(const double* parts) {
  const DoubleTag d;
  return hn::GetLane(hn::SumOfLanes(d, hn::Load(d, parts)));
}

// --- Apply ---

struct AffineVectors {
  Doubles scale;
  Doubles slope;
  Doubles offset;
};

HWY_INLINE AffineVectors Broadcast(const Affine& affine) {
  const DoubleTag d;
  return {hn::Set(d, affine.scale), hn::Set(d, affine.slope),
          hn::Set(d, affine.offset)};
}

template <bool kBackward>
HWY_INLINE hn::Vec<HalfTag> ApplyHalf(const float* x, const float* dy,
                                      const AffineVectors& affine) {
  Doubles result;
  if constexpr (kBackward) {
    result = hn::MulAdd(affine.scale, Load(dy),
                        hn::MulAdd(affine.slope, Load(x), affine.offset));
  } else {
    result = hn::MulAdd(affine.scale, Load(x), affine.offset);
  }
  return hn::DemoteTo(HalfTag(), result);
}

// Two vectors of doubles become one of floats, a whole cache line at best.
// REQUIRES: kStream: `out` is aligned to a vector of floats.
template <bool kStream>
HWY_INLINE void StoreHalves(hn::Vec<HalfTag> low, hn::Vec<HalfTag> high,
                            float* out) {
#if HWY_TARGET == HWY_SCALAR
  hn::StoreU(low, HalfTag(), out);
  hn::StoreU(high, HalfTag(), out + 1);
#else
  const FloatTag d;
  const auto both = hn::Combine(d, high, low);
  kStream ? hn::Stream(both, d, out) : hn::StoreU(both, d, out);
#endif
}

template <bool kBackward>
HWY_INLINE float ApplyOne(const float* x, const float* dy,
                          const Affine& affine) {
  if constexpr (!kBackward) {
    return static_cast<float>(affine.scale * double{*x} + affine.offset);
  }
  return static_cast<float>(affine.scale * double{*dy} +
                            (affine.slope * double{*x} + affine.offset));
}

// One channel's segment. Prefetches `ahead` values further on.
template <bool kBackward>
HWY_INLINE void ApplySegment(const float* x, const float* dy,
                             const Affine& affine, std::int64_t size,
                             std::int64_t ahead, float* out) {
  const AffineVectors vectors = Broadcast(affine);
  const std::int64_t lanes = Lanes();
  std::int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    PrefetchL2(x + i + ahead);
    if constexpr (kBackward) PrefetchL2(dy + i + ahead);
    StoreHalves<false>(
        ApplyHalf<kBackward>(x + i, dy + i, vectors),
        ApplyHalf<kBackward>(x + i + lanes, dy + i + lanes, vectors), out + i);
  }
  for (; i + lanes <= size; i += lanes) {
    hn::StoreU(ApplyHalf<kBackward>(x + i, dy + i, vectors), HalfTag(),
               out + i);
  }
  for (; i < size; ++i) {
    out[i] = ApplyOne<kBackward>(x + i, dy + i, affine);
  }
}

// Values before `out` is aligned to a vector of floats.
HWY_INLINE std::int64_t Misaligned(const float* out) {
  const auto bytes = hn::Lanes(FloatTag()) * sizeof(float);
  const auto behind = reinterpret_cast<std::uintptr_t>(out) % bytes;
  return static_cast<std::int64_t>((bytes - behind) % bytes / sizeof(float));
}

// Copies a run whose beginning and end may lie within cache lines.
HWY_INLINE void StreamRun(const float* from, std::int64_t size, float* out) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  const std::int64_t head = std::min(Misaligned(out), size);
  for (; i < head; ++i) out[i] = from[i];
  for (; i + lanes <= size; i += lanes) {
    hn::Stream(hn::LoadU(d, from + i), d, out + i);
  }
  for (; i < size; ++i) out[i] = from[i];
}

}  // namespace batchnorm::benchmark::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_SEGMENTS_INL_H_
