// The apply passes of 16-bit tensors by intervals (result_interval-inl.h), two
// vectors of floats at a time.
#if defined(BATCHNORMD_SERVER_KERNEL_INTERVAL_APPLY_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_INTERVAL_APPLY_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_INTERVAL_APPLY_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_INTERVAL_APPLY_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "server/kernel/apply_segment-inl.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/result_interval-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Whether a loop's results may come from intervals.
template <class A>
inline constexpr bool kHasIntervals =
    BN_HAS_INTERVALS && sizeof(BitsOf<A::kDtype>) == 2 && A::kReadsX;

#if BN_HAS_INTERVALS

// A block's results, or one end of each.
using Halves = hn::Vec<hn::ScalableTag<std::uint16_t>>;

#if HWY_TARGET <= HWY_AVX3

// A block of floats rounded to 16 bits, nearest even. Those of bfloat16 that
// are subnormal become zeros.
template <Dtype kDtype>
HWY_INLINE Halves RoundFloats(WideFloats first, WideFloats second) {
  if constexpr (kDtype == Dtype::kF16) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    const __m256i a = _mm512_cvtps_ph(first.raw, kNearest);
    const __m256i b = _mm512_cvtps_ph(second.raw, kNearest);
    return Halves{_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1)};
  }
  __m512i rounded;
  asm("vcvtne2ps2bf16 %2, %1, %0"
      : "=v"(rounded)
      : "v"(second.raw), "v"(first.raw));
  return Halves{rounded};
}

// Not 0 where the two are not the same.
using Difference = __mmask32;
HWY_INLINE Difference WhereNotEqual(Halves a, Halves b) {
  return _mm512_cmpneq_epi16_mask(a.raw, b.raw);
}

// Which of a block's results are NaN, of any pattern.
template <Dtype kDtype>
HWY_INLINE Difference WhereNan(Halves rounded) {
  constexpr int kInfinity = kDtype == Dtype::kF16 ? 0x7c00 : 0x7f80;
  const __m512i doubled =
      _mm512_add_epi16(rounded.raw, rounded.raw);  // without sign
  return _mm512_cmpgt_epu16_mask(
      doubled, _mm512_set1_epi16(static_cast<std::int16_t>(2 * kInfinity)));
}

// Whether this machine has the conversion of RoundFloats.
template <Dtype kDtype>
bool CanRoundFloats() {
  if constexpr (kDtype == Dtype::kBF16) {
    static const bool can = __builtin_cpu_supports("avx512bf16") != 0;
    return can;
  }
  return kDtype == Dtype::kF16;
}

#else

// A block of floats rounded to 16 bits, to nearest. Of bfloat16, halves go away
// from 0, and NaN stays one: its lower bits are those of an element, 0. (A
// result that is half-way lies between its ends, which then differ.)
template <Dtype kDtype>
HWY_INLINE Halves RoundFloats(WideFloats first, WideFloats second) {
  if constexpr (kDtype == Dtype::kF16) {
    const __m128i a = _mm256_cvtps_ph(first.raw, _MM_FROUND_TO_NEAREST_INT);
    const __m128i b = _mm256_cvtps_ph(second.raw, _MM_FROUND_TO_NEAREST_INT);
    return Halves{_mm256_set_m128i(b, a)};
  }
  const hn::ScalableTag<std::uint32_t> d;
  const auto half = hn::Set(d, 0x8000);
  const auto a = hn::ShiftRight<16>(hn::Add(hn::BitCast(d, first), half));
  const auto b = hn::ShiftRight<16>(hn::Add(hn::BitCast(d, second), half));
  // Packs each 128 bits by themselves.
  constexpr int kInOrder = 0xd8;
  return Halves{
      _mm256_permute4x64_epi64(_mm256_packus_epi32(a.raw, b.raw), kInOrder)};
}

// Not 0 where the two are not the same.
using Difference = std::uint32_t;
HWY_INLINE Difference WhereNotEqual(Halves a, Halves b) {
  return ~static_cast<Difference>(
      _mm256_movemask_epi8(_mm256_cmpeq_epi16(a.raw, b.raw)));
}

// Which of a block's results are NaN, of any pattern.
template <Dtype kDtype>
HWY_INLINE Difference WhereNan(Halves rounded) {
  constexpr int kInfinity = kDtype == Dtype::kF16 ? 0x7c00 : 0x7f80;
  const __m256i magnitude =
      _mm256_and_si256(rounded.raw, _mm256_set1_epi16(0x7fff));
  return static_cast<Difference>(_mm256_movemask_epi8(
      _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16(kInfinity))));
}

template <Dtype kDtype>
bool CanRoundFloats() {
  return sizeof(BitsOf<kDtype>) == 2;
}

#endif

// Columns `at` and on of a row, by doubles.
template <class A>
HWY_NOINLINE Halves DoubtfulBlock(const std::uint16_t* x,
                                  const std::uint16_t* dy,
                                  const CoefficientsAt& c, std::size_t at) {
  HWY_ALIGN std::uint16_t results[kIntervalBlock];
  for (std::size_t i = 0; i < kIntervalBlock; i += LaneCount()) {
    ApplyVector<A>(x + at + i, dy + at + i, c, at + i, results + i);
  }
  return hn::Load(hn::ScalableTag<std::uint16_t>(), results);
}

// Columns `at` and on of kRows rows, which have these numbers. Stored at the
// end, as in ApplyPair; past the caches if kStreams, which needs whole lines.
template <class A, bool kStreams, bool kFetches, std::size_t kRows>
HWY_INLINE void ApplyIntervalBlock(
    const std::uint16_t* x, const std::uint16_t* dy,
    const IntervalVectors<A>& first, const IntervalVectors<A>& second,
    const CoefficientsAt& c, std::size_t at, std::int64_t stride,
    std::int64_t ahead, const FetchOrder<kRows>& order, std::uint16_t* out) {
  Halves results[kRows];
  Difference doubtful[kRows];
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto* const x_row = x + at + static_cast<std::int64_t>(row) * stride;
    const auto* const dy_row =
        dy + at + static_cast<std::int64_t>(row) * stride;
    const std::int64_t next =
        ahead + static_cast<std::int64_t>(row) * order.by_row;
    if constexpr (kFetches) PrefetchFar(x + next);
    if constexpr (kFetches && A::kReadsDy) PrefetchFar(dy + next);
    const Ends ends0 = EndsOf<A>(x_row, dy_row, first);
    const Ends ends1 =
        EndsOf<A>(x_row + kFloatLanes, dy_row + kFloatLanes, second);
    results[row] = RoundFloats<A::kDtype>(ends0.lo, ends1.lo);
    doubtful[row] =
        WhereNotEqual(results[row], RoundFloats<A::kDtype>(ends0.hi, ends1.hi));
    if constexpr (A::kMayBeNan) {
      doubtful[row] |= WhereNan<A::kDtype>(results[row]);
    }
  }
  const hn::ScalableTag<std::uint16_t> halves;
  for (std::size_t row = 0; row < kRows; ++row) {
    if (HWY_UNLIKELY(doubtful[row] != 0)) {
      results[row] = DoubtfulBlock<A>(x, dy, c, at);
    }
    if constexpr (kStreams) {
      hn::Stream(results[row], halves, out + at);
    } else {
      hn::StoreU(results[row], halves, out + at);
    }
    x += stride;
    dy += stride;
    out += stride;
  }
}

// Elements [begin, size) of kRows rows, as far as there are whole blocks;
// returns how far. What lies `ahead` is fetched meanwhile, if kFetches.
template <class A, bool kStreams, bool kFetches, std::size_t kRows>
HWY_INLINE std::size_t ApplyIntervals(
    const std::uint16_t* x, const std::uint16_t* dy, const CoefficientsAt& c,
    const IntervalsAt& numbers, std::size_t begin, std::size_t size,
    std::int64_t stride, std::int64_t ahead, std::uint16_t* out) {
  const FetchOrder<kRows> order(size, stride, kIntervalBlock);
  std::int64_t next = ahead + static_cast<std::int64_t>(begin);
  std::size_t i = begin;
  if constexpr (A::kPerLane) {
    for (; i + kIntervalBlock <= size; i += kIntervalBlock) {
      const IntervalVectors<A> first(numbers, i);
      const IntervalVectors<A> second(numbers, i + kFloatLanes);
      ApplyIntervalBlock<A, kStreams, kFetches, kRows>(
          x, dy, first, second, c, i, stride, next, order, out);
      next += order.by_step;
    }
  } else {
    const IntervalVectors<A> all(numbers, 0);
    for (; i + kIntervalBlock <= size; i += kIntervalBlock) {
      ApplyIntervalBlock<A, kStreams, kFetches, kRows>(
          x, dy, all, all, c, i, stride, next, order, out);
      next += order.by_step;
    }
  }
  return i;
}

#else  // never called

template <Dtype kDtype>
bool CanRoundFloats() {
  return false;
}

inline constexpr std::size_t kIntervalBlock = 1;
struct IntervalsAt {};

struct IntervalNumbers {
  template <class A>
  void Set(const CoefficientsAt&, std::size_t) {}
  IntervalsAt From(std::size_t) const { return {}; }
};

template <class A, bool kStreams, bool kFetches, std::size_t kRows>
std::size_t ApplyIntervals(const std::uint16_t*, const std::uint16_t*,
                           const CoefficientsAt&, const IntervalsAt&,
                           std::size_t begin, std::size_t, std::int64_t,
                           std::int64_t, std::uint16_t*) {
  return begin;
}

#endif  // BN_HAS_INTERVALS

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_INTERVAL_APPLY_INL_H_
