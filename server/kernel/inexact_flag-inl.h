// Whether anything was rounded, as the processor itself says.
//
// A processor notes in a flag that a result was not exact, and forgets it only
// when told to. AVX-512 has additions and multiplications that leave the flag
// alone. So what a sum rounds on purpose (the upper slices) is computed by
// these, what must be exact by ordinary ones, and one look at the flag
// certifies all of a block: no value needs to be scanned. Elsewhere the `Quiet`
// functions are the ordinary ones, and blocks are scanned
// (certified_block-inl.h).
#if defined(BATCHNORMD_SERVER_KERNEL_INEXACT_FLAG_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_INEXACT_FLAG_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_INEXACT_FLAG_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_INEXACT_FLAG_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3  // or better

inline constexpr bool kSeesInexact = true;

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

// The state of the thread's arithmetic. What is in memory was stored before,
// and is loaded afterwards.
HWY_INLINE std::uint32_t ArithmeticState() {
  std::uint32_t state;
  asm volatile("vstmxcsr %0" : "=m"(state) : : "memory");
  return state;
}
inline constexpr std::uint32_t kInexact = 1 << 5;

// From here on: REQUIRES that what is watched is loaded after this.
HWY_INLINE void WatchForInexact() {
  std::uint32_t state = ArithmeticState();
  if (HWY_LIKELY((state & kInexact) == 0)) return;
  state &= ~kInexact;
  asm volatile("vldmxcsr %0" : : "m"(state) : "memory");
}

// Up to here: whether anything was inexact of what led to these values, and to
// what is in memory.
template <class... Vectors>
HWY_INLINE bool SawInexact(Vectors... results) {
  (..., [](auto result) HWY_ATTR {
    asm volatile("" : : "v"(result.raw));  // has been computed
  }(results));
  return (ArithmeticState() & kInexact) != 0;
}

#else

inline constexpr bool kSeesInexact = false;

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
HWY_INLINE void WatchForInexact() {}
template <class... Vectors>
HWY_INLINE bool SawInexact(Vectors...) {
  return true;
}

#endif

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_INEXACT_FLAG_INL_H_
