// What the processor itself says of a block's arithmetic.
//
// It notes in flags that a result was not exact, or was so small that it lost
// bits, and forgets that only when told to. One look at a flag certifies all of
// a block, where else each value needs to be scanned (certified_block-inl.h).
//
// AVX-512: whether anything was inexact. It has additions and multiplications
// that leave the flag alone. So what a sum rounds on purpose (the upper slices)
// is computed by these, what must be exact by ordinary ones.
//
// AVX2: the same, of sums that round nothing on purpose (Slices::kUpper); and
// whether anything underflowed. The sums do not; but a product that is made for
// that alone tells whether a float is a multiple of a unit (unit_probe-inl.h).
//
// Elsewhere the `Quiet` functions are the ordinary ones, and no flag is
// watched.
#if defined(BATCHNORMD_SERVER_KERNEL_ARITHMETIC_FLAG_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_ARITHMETIC_FLAG_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_ARITHMETIC_FLAG_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_ARITHMETIC_FLAG_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3  // or better

inline constexpr bool kSeesInexact = true;
inline constexpr bool kSeesUnderflow = false;

// Rounded to nearest even, without a trace in the flag.
inline constexpr int kQuietly = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

HWY_INLINE DoubleVector QuietAdd(DoubleVector a, DoubleVector b) {
  return DoubleVector{_mm512_add_round_pd(a.raw, b.raw, kQuietly)};
}
HWY_INLINE DoubleVector QuietMul(DoubleVector a, DoubleVector b) {
  return DoubleVector{_mm512_mul_round_pd(a.raw, b.raw, kQuietly)};
}
HWY_INLINE DoubleVector QuietMulAdd(DoubleVector a, DoubleVector b,
                                    DoubleVector c) {
  return DoubleVector{_mm512_fmadd_round_pd(a.raw, b.raw, c.raw, kQuietly)};
}

#else

inline constexpr bool kSeesInexact = false;
inline constexpr bool kSeesUnderflow = HWY_TARGET == HWY_AVX2;

HWY_INLINE DoubleVector QuietAdd(DoubleVector a, DoubleVector b) {
  return hn::Add(a, b);
}
HWY_INLINE DoubleVector QuietMul(DoubleVector a, DoubleVector b) {
  return hn::Mul(a, b);
}
HWY_INLINE DoubleVector QuietMulAdd(DoubleVector a, DoubleVector b,
                                    DoubleVector c) {
  return hn::MulAdd(a, b, c);
}

#endif

enum class Flag : std::uint8_t { kUnderflow = 1 << 4, kInexact = 1 << 5 };

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2  // or better

// The state of the thread's arithmetic. What is in memory was stored before,
// and is loaded afterwards.
HWY_INLINE std::uint32_t ArithmeticState() {
  std::uint32_t state;
  asm volatile("vstmxcsr %0" : "=m"(state) : : "memory");
  return state;
}

// From here on: REQUIRES that what is watched is loaded after this.
HWY_INLINE void WatchFlag(Flag flag) {
  std::uint32_t state = ArithmeticState();
  const auto bit = static_cast<std::uint32_t>(flag);
  if (HWY_LIKELY((state & bit) == 0)) return;
  state &= ~bit;
  asm volatile("vldmxcsr %0" : : "m"(state) : "memory");
}

// Up to here: whether anything raised the flag of what led to these values, to
// what is in memory, and of what is volatile.
template <class... Vectors>
HWY_INLINE bool IsRaised(Flag flag, Vectors... results) {
  (..., [](auto result) HWY_ATTR {
    asm volatile("" : : "v"(result.raw));  // has been computed
  }(results));
  return (ArithmeticState() & static_cast<std::uint32_t>(flag)) != 0;
}

#else

HWY_INLINE void WatchFlag(Flag) {}
template <class... Vectors>
HWY_INLINE bool IsRaised(Flag, Vectors...) {
  return true;
}

#endif

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_ARITHMETIC_FLAG_INL_H_
