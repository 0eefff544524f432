// Elements of every format as vectors of doubles, and the other way round.
//
// Widening is exact; narrowing rounds once, to nearest even. All of it gives
// the bits of float_formats.h.
#if defined(BATCHNORMD_SERVER_KERNEL_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_LANES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_LANES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/element_format.h"
#include "server/kernel/float_formats.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Whether the machine's own conversions from and to binary16 are used: those of
// F16C and AVX-512 are IEEE's, subnormals included. Elsewhere Highway has
// conversions that truncate, and this file has its own.
#undef BN_MACHINE_HAS_F16
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || \
    HWY_TARGET == HWY_AVX3_DL
#define BN_MACHINE_HAS_F16 1
#else
#define BN_MACHINE_HAS_F16 0
#endif

using DoubleTag = hn::ScalableTag<double>;
using DoubleVector = hn::Vec<DoubleTag>;
using IntegerTag = hn::ScalableTag<std::int64_t>;
using FloatTag = hn::Rebind<float, DoubleTag>;  // as many lanes
using FloatBitsTag = hn::Rebind<std::uint32_t, DoubleTag>;
using HalfBitsTag = hn::Rebind<std::uint16_t, DoubleTag>;

// The lanes of a vector of doubles, at compile time an upper bound.
inline constexpr std::size_t kMaxLanes = hn::MaxLanes(DoubleTag());
HWY_INLINE std::size_t LaneCount() { return hn::Lanes(DoubleTag()); }

// What memory and caches hand over at once.
inline constexpr std::size_t kLineBytes = 64;

// Fetches a line into the second-level cache, for use some thousand elements
// later. (In the first level it would push out what is read a second time.)
// Any address will do.
HWY_INLINE void PrefetchFar(const void* address) {
  __builtin_prefetch(address, 0, 2);
}

// a + b and a - b, by the units that multiply: exact products with 1, so that
// these are the same bits. Conversions and plain additions share other units,
// of which there are no more, and would keep them waiting.
HWY_INLINE DoubleVector AddAside(DoubleVector a, DoubleVector b) {
#if HWY_NATIVE_FMA
  return hn::MulAdd(a, hn::Set(DoubleTag(), 1.0), b);
#else
  return hn::Add(a, b);
#endif
}
HWY_INLINE DoubleVector SubAside(DoubleVector a, DoubleVector b) {
#if HWY_NATIVE_FMA
  return hn::MulSub(a, hn::Set(DoubleTag(), 1.0), b);
#else
  return hn::Sub(a, b);
#endif
}

// Binary16 in the lower halves of the lanes, as floats.
HWY_INLINE hn::Vec<FloatTag> F16ToFloat(hn::Vec<FloatBitsTag> bits) {
  const FloatTag df;
  const FloatBitsTag d;
  const auto magnitude = hn::And(bits, hn::Set(d, 0x7fff));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
  // The same digits under float's bias are 2^112 too small: exact, and it
  // normalizes subnormals. Infinity and NaN get float's greatest exponent.
  const auto finite = hn::Mul(hn::BitCast(df, hn::ShiftLeft<13>(magnitude)),
                              hn::Set(df, 0x1p112f));
  const auto special = hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(d, 0x7bff)),
                                          hn::Set(d, 0x7f800000));
  return hn::BitCast(df, hn::Or(hn::Or(hn::BitCast(d, finite), special), sign));
}

// Bfloat16, as floats, whose upper halves they are.
HWY_INLINE hn::Vec<FloatTag> BF16ToFloat(hn::Vec<HalfBitsTag> bits) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3  // or better
  // One instruction, where to widen and to shift takes two.
  const __m256i into_upper =
      _mm256_set_epi16(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m256i words = _mm256_castsi128_si256(bits.raw);
  const __m256i floats =
      _mm256_maskz_permutexvar_epi16(0xaaaa, into_upper, words);
  return hn::Vec<FloatTag>{_mm256_castsi256_ps(floats)};
#else
  const auto upper = hn::ShiftLeft<16>(hn::PromoteTo(FloatBitsTag(), bits));
  return hn::BitCast(FloatTag(), upper);
#endif
}

// As many elements as a vector of doubles has lanes, as they are in memory.
template <Dtype kDtype>
using ElementBitsTag = hn::Rebind<BitsOf<kDtype>, DoubleTag>;

template <Dtype kDtype>
HWY_INLINE DoubleVector Widen(hn::Vec<ElementBitsTag<kDtype>> bits) {
  const DoubleTag d;
  const FloatTag df;
  if constexpr (kDtype == Dtype::kF64) {
    return hn::BitCast(d, bits);
  } else if constexpr (kDtype == Dtype::kF32) {
    return hn::PromoteTo(d, hn::BitCast(df, bits));
  } else if constexpr (kDtype == Dtype::kBF16) {
    return hn::PromoteTo(d, BF16ToFloat(bits));
  } else {
#if BN_MACHINE_HAS_F16
    const hn::Rebind<hwy::float16_t, DoubleTag> dh;
    return hn::PromoteTo(d, hn::PromoteTo(df, hn::BitCast(dh, bits)));
#else
    return hn::PromoteTo(d, F16ToFloat(hn::PromoteTo(FloatBitsTag(), bits)));
#endif
  }
}

template <Dtype kDtype>
HWY_INLINE DoubleVector LoadWide(const BitsOf<kDtype>* from) {
  return Widen<kDtype>(hn::LoadU(ElementBitsTag<kDtype>(), from));
}

// Whether loads under a mask read nothing else.
template <typename T>
inline constexpr bool kMaskedLoadsAreExact =
    !HWY_MEM_OPS_MIGHT_FAULT || (HWY_TARGET == HWY_AVX2 && sizeof(T) >= 4);

// The first `size` values, and zeros; reads no further. `size` may be 0 or more
// than there are lanes.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const T* from, std::size_t size) {
  const std::size_t lanes = hn::Lanes(d);
  if (size >= lanes) return hn::LoadU(d, from);
  if constexpr (kMaskedLoadsAreExact<T>) {
    return hn::MaskedLoad(hn::FirstN(d, size), d, from);
  } else {
    HWY_ALIGN T values[hn::MaxLanes(d)] = {};
    std::memcpy(values, from, size * sizeof(T));
    return hn::Load(d, values);
  }
}

// The `size` values before `end`, no more than there are lanes, and zeros.
// REQUIRES: a whole vector before `end` can be read. Then this is quicker than
// LoadFirst where values have to be put together in memory, which a load that
// follows at once has to wait for.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadLast(D d, const T* end, std::size_t size) {
  if constexpr (kMaskedLoadsAreExact<T>) {
    return hn::MaskedLoad(hn::FirstN(d, size), d, end - size);
  } else {
    const std::size_t lanes = hn::Lanes(d);
    const auto others = hn::FirstN(d, lanes - size);
    return hn::IfThenZeroElse(others, hn::LoadU(d, end - lanes));
  }
}

// Values i and on of `size`; where fewer are left than there are lanes, the
// last vector of them: for what may see a value twice.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadSome(D d, const T* from, std::size_t i,
                               std::size_t size) {
  const std::size_t lanes = hn::Lanes(d);
  if (size < lanes) return LoadFirst(d, from, size);
  return hn::LoadU(d, from + HWY_MIN(i, size - lanes));
}

// The first `size` elements, and zeros.
template <Dtype kDtype>
HWY_INLINE DoubleVector LoadWideFirst(const BitsOf<kDtype>* from,
                                      std::size_t size) {
  return Widen<kDtype>(LoadFirst(ElementBitsTag<kDtype>(), from, size));
}

// NaN becomes the one pattern that is written.
HWY_INLINE DoubleVector CanonicalNan(DoubleVector v) {
  const DoubleTag d;
  const hn::Rebind<std::uint64_t, DoubleTag> bits;
  const auto nan = hn::BitCast(d, hn::Set(bits, 0x7ff8000000000000));
  return hn::IfThenElse(hn::Eq(v, v), v, nan);
}

// The nearest float. (Highway's scalar target makes an infinity of all that is
// above the greatest float.)
HWY_INLINE hn::Vec<FloatTag> NarrowToFloat(DoubleVector v) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(FloatTag(), NarrowToF32(hn::GetLane(v)));
#else
  return hn::DemoteTo(FloatTag(), v);
#endif
}

// The double that a 16-bit format rounds from. Rounded to 24 bits with the last
// one set where anything is lost ("to odd"), it is a float, and rounding that
// to 8 or 11 bits is as good as rounding v itself.
HWY_INLINE hn::Vec<FloatTag> RoundToOddFloat(DoubleVector v) {
  const DoubleTag d;
  const hn::Rebind<std::uint64_t, DoubleTag> bits;
  const auto lost = hn::Set(bits, (std::uint64_t{1} << 29) - 1);
  const auto b = hn::BitCast(bits, v);
  const auto sticky = hn::Add(hn::And(b, lost), lost);  // bit 29 if any is lost
  const auto odd = hn::AndNot(lost, hn::Or(b, sticky));
  return NarrowToFloat(hn::BitCast(d, odd));
}

// Float bits to bfloat16, nearest even. NaN must be canonical.
template <bool kMayBeHalfway, class D>
HWY_INLINE hn::Vec<D> FloatToBF16(D d, hn::Vec<D> b) {
  if constexpr (!kMayBeHalfway) {
    return hn::ShiftRight<16>(hn::Add(b, hn::Set(d, 0x8000)));
  }
  const auto even = hn::And(hn::ShiftRight<16>(b), hn::Set(d, 1));
  return hn::ShiftRight<16>(hn::Add(b, hn::Add(even, hn::Set(d, 0x7fff))));
}

// Float bits to binary16, nearest even. NaN must be canonical.
template <class D>
HWY_INLINE hn::Vec<D> FloatToF16(D d, hn::Vec<D> b) {
  const hn::Rebind<float, D> df;
  const auto magnitude = hn::And(b, hn::Set(d, 0x7fffffff));
  const auto sign = hn::ShiftRight<16>(hn::Xor(b, magnitude));
  // Normal: change the bias, then round 13 bits away.
  const auto even = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(d, 1));
  const auto normal =
      hn::ShiftRight<13>(hn::Add(hn::Sub(magnitude, hn::Set(d, 112u << 23)),
                                 hn::Add(even, hn::Set(d, 0xfff))));
  // Subnormal: adding 1/2 leaves multiples of 2^-24 in the last bits.
  const auto half = hn::Set(df, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(d, hn::Add(hn::BitCast(df, magnitude), half)),
              hn::BitCast(d, half));
  const auto finite = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 113u << 23)),
                                     subnormal, normal);
  const auto infinite = hn::Gt(magnitude, hn::Set(d, 0x477fefff));  // 65520 on
  const auto nan = hn::Gt(magnitude, hn::Set(d, 0x7f800000));
  const auto limited = hn::IfThenElse(infinite, hn::Set(d, 0x7c00), finite);
  return hn::Or(hn::IfThenElse(nan, hn::Set(d, 0x7e00), limited), sign);
}

// v, but rounded to a multiple of bfloat16's smallest number where v is
// subnormal there: float has subnormals in those binades too, and too few bits.
HWY_INLINE DoubleVector RoundBF16Subnormals(DoubleVector v) {
  const DoubleTag d;
  const auto small = hn::Lt(hn::Abs(v), hn::Set(d, 0x1p-126));
  const auto middle = hn::Set(d, 0x1.8p-81);  // the last bit weighs 2^-133
  const auto rounded = hn::Sub(hn::Add(v, middle), middle);
  return hn::IfThenElse(small, hn::CopySign(rounded, v), v);
}

// Floats, rounded to odd or not half-way, to 16 bits, and stored.
template <Dtype kDtype, bool kMayBeHalfway, class DF>
HWY_INLINE void StoreHalves(DF df, hn::Vec<DF> v, std::uint16_t* to) {
  const hn::Rebind<std::uint16_t, DF> halves;
#if BN_MACHINE_HAS_F16
  if constexpr (kDtype == Dtype::kF16) {
    const hn::Rebind<hwy::float16_t, DF> dh;
    hn::StoreU(hn::BitCast(halves, hn::DemoteTo(dh, v)), halves, to);
    return;
  }
#endif
  const hn::Rebind<std::uint32_t, DF> d;
  const auto b = hn::BitCast(d, v);
  const auto narrow = kDtype == Dtype::kBF16 ? FloatToBF16<kMayBeHalfway>(d, b)
                                             : FloatToF16(d, b);
  (void)df;
  hn::StoreU(hn::TruncateTo(halves, narrow), halves, to);
}

// Stores as many elements as a vector of doubles has lanes.
// REQUIRES: NaN is canonical.
template <Dtype kDtype>
HWY_INLINE void StoreNarrow(DoubleVector v, BitsOf<kDtype>* to) {
  if constexpr (kDtype == Dtype::kF64) {
    const hn::Rebind<std::uint64_t, DoubleTag> bits;
    hn::StoreU(hn::BitCast(bits, v), bits, to);
  } else if constexpr (kDtype == Dtype::kF32) {
    const FloatBitsTag bits;
    hn::StoreU(hn::BitCast(bits, NarrowToFloat(v)), bits, to);
  } else {
    if constexpr (kDtype == Dtype::kBF16) v = RoundBF16Subnormals(v);
    StoreHalves<kDtype, true>(FloatTag(), RoundToOddFloat(v), to);
  }
}

// Whether no float is half-way between two numbers of a 16-bit format. Such
// numbers are floats, so nothing that is rounded to float crosses one, and
// rounding once more gives what rounding the double at once would: subnormal
// and overflowing results included.
template <Dtype kDtype, class DF>
HWY_INLINE bool NoneIsHalfway(DF df, hn::Vec<DF> v) {
  (void)df;
  // All that are, and few others.
  if constexpr (kDtype == Dtype::kBF16) {
    // Lower halves of floats that are half-way; upper ones of -0 and the like.
    const hn::Repartition<std::uint16_t, DF> d;
    return hn::AllFalse(d, hn::Eq(hn::BitCast(d, v), hn::Set(d, 0x8000)));
  } else {
    // Subnormals have more zeros at the end.
    const hn::Rebind<std::uint32_t, DF> d;
    const auto low = hn::And(hn::BitCast(d, v), hn::Set(d, 0xfff));
    return hn::AllFalse(d, hn::Eq(low, hn::Zero(d)));
  }
}

// The same for two vectors; for 16 bits they share the last steps.
template <Dtype kDtype>
HWY_INLINE void StoreNarrow(DoubleVector v0, DoubleVector v1,
                            BitsOf<kDtype>* to) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(BitsOf<kDtype>) == 2) {
    const hn::Twice<FloatTag> df;
    const auto near = hn::Combine(df, NarrowToFloat(v1), NarrowToFloat(v0));
    if (HWY_LIKELY(NoneIsHalfway<kDtype>(df, near))) {
      return StoreHalves<kDtype, false>(df, near, to);
    }
  }
#endif
  StoreNarrow<kDtype>(v0, to);
  StoreNarrow<kDtype>(v1, to + LaneCount());
}

// StoreNarrow past the caches. REQUIRES: `to` is aligned to what is stored.
template <Dtype kDtype>
HWY_INLINE void StreamNarrow(DoubleVector v0, DoubleVector v1,
                             BitsOf<kDtype>* to) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kDtype == Dtype::kF32) {
    const hn::Twice<FloatTag> df;
    const hn::Rebind<std::uint32_t, decltype(df)> bits;
    const auto both = hn::Combine(df, NarrowToFloat(v1), NarrowToFloat(v0));
    return hn::Stream(hn::BitCast(bits, both), bits, to);
  } else if constexpr (kDtype == Dtype::kF64) {
    const hn::Rebind<std::uint64_t, DoubleTag> bits;
    hn::Stream(hn::BitCast(bits, v0), bits, to);
    return hn::Stream(hn::BitCast(bits, v1), bits, to + LaneCount());
  }
#endif
  StoreNarrow<kDtype>(v0, v1, to);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_LANES_INL_H_
