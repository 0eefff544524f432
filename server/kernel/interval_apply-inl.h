// The apply passes of 16-bit tensors by intervals (result_interval-inl.h), a
// block of 32 elements at a time.
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

// A block of floats rounded to 16 bits, nearest even. Those of bfloat16 that
// are subnormal become zeros.
template <Dtype kDtype>
HWY_INLINE __m512i RoundFloats(WideFloats first, WideFloats second) {
  if constexpr (kDtype == Dtype::kF16) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    const __m256i a = _mm512_cvtps_ph(first.raw, kNearest);
    const __m256i b = _mm512_cvtps_ph(second.raw, kNearest);
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  }
  __m512i rounded;
  asm("vcvtne2ps2bf16 %2, %1, %0"
      : "=v"(rounded)
      : "v"(second.raw), "v"(first.raw));
  return rounded;
}

// Which of a block's results are NaN, of any pattern.
template <Dtype kDtype>
HWY_INLINE __mmask32 WhereNan(__m512i rounded) {
  constexpr int kInfinity = kDtype == Dtype::kF16 ? 0x7c00 : 0x7f80;
  const __m512i doubled = _mm512_add_epi16(rounded, rounded);  // without sign
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

// Columns `at` and on of a row, by doubles.
template <class A>
HWY_NOINLINE void ApplyDoubtful(const std::uint16_t* x, const std::uint16_t* dy,
                                const CoefficientsAt& c, std::size_t at,
                                std::uint16_t* out) {
  ApplyPairs<A, false, false, 1>(x, dy, c, at, at + kIntervalBlock, 0, 0, out);
}

// Columns `at` and on of kRows rows, which have these numbers. Stored at the
// end, as in ApplyPair; past the caches if kStreams, which needs whole lines.
template <class A, bool kStreams, bool kFetches, std::size_t kRows>
HWY_INLINE void ApplyIntervalBlock(
    const std::uint16_t* x, const std::uint16_t* dy,
    const IntervalVectors<A>& first, const IntervalVectors<A>& second,
    const CoefficientsAt& c, std::size_t at, std::int64_t stride,
    std::int64_t ahead, const FetchOrder<kRows>& order, std::uint16_t* out) {
  __m512i results[kRows];
  __mmask32 doubtful[kRows];
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
    doubtful[row] = _mm512_cmpneq_epi16_mask(
        results[row], RoundFloats<A::kDtype>(ends0.hi, ends1.hi));
    if constexpr (A::kMayBeNan) {
      doubtful[row] |= WhereNan<A::kDtype>(results[row]);
    }
  }
  for (std::size_t row = 0; row < kRows; ++row) {
    if (HWY_UNLIKELY(doubtful[row] != 0)) {
      ApplyDoubtful<A>(x, dy, c, at, out);
    } else if constexpr (kStreams) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(out + at), results[row]);
    } else {
      _mm512_storeu_si512(out + at, results[row]);
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
