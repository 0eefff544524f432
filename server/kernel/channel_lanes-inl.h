// Channels in lanes: the tag, and memory that may end within a vector.
// Highway's per-target code: may be included once a target, and only in files
// that are compiled for each.
#if defined(BATCHNORMD_SERVER_KERNEL_CHANNEL_LANES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_CHANNEL_LANES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_CHANNEL_LANES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_LANES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "server/kernel/channel_expansions.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// No wider than the padding of the expansions.
using Channels = hn::CappedTag<double, kChannelPadding>;
using Vector = hn::Vec<Channels>;
using Mask = decltype(hn::MaskFromVec(hn::Zero(Channels())));

HWY_INLINE Vector Constant(double value) { return hn::Set(Channels(), value); }

HWY_INLINE Mask And(Mask a, Mask b) { return hn::And(a, b); }
HWY_INLINE Mask Or(Mask a, Mask b) { return hn::Or(a, b); }
HWY_INLINE bool AllTrue(Mask a) { return hn::AllTrue(Channels(), a); }
HWY_INLINE Mask IsZero(Vector a) { return hn::Eq(a, hn::Zero(Channels())); }

HWY_INLINE Vector LoadPadded(const ChannelRow& from, std::size_t i) {
  return hn::LoadU(Channels(), from.data() + i);
}

// Loads the lanes that there are, zeros beyond.
HWY_INLINE Vector LoadUpTo(const double* from, std::size_t size) {
  if (HWY_LIKELY(size >= hn::Lanes(Channels()))) {
    return hn::LoadU(Channels(), from);
  }
  double lanes[kChannelPadding] = {};
  std::memcpy(lanes, from, size * sizeof(double));
  return hn::LoadU(Channels(), lanes);
}

HWY_INLINE void StoreUpTo(Vector values, double* to, std::size_t size) {
  if (HWY_LIKELY(size >= hn::Lanes(Channels()))) {
    return hn::StoreU(values, Channels(), to);
  }
  double lanes[kChannelPadding];
  hn::StoreU(values, Channels(), lanes);
  std::memcpy(to, lanes, size * sizeof(double));
}

// One byte a lane, 1 for true.
HWY_INLINE void StoreUpTo(Mask mask, std::uint8_t* to, std::size_t size) {
  std::uint8_t bits[8] = {};
  hn::StoreMaskBits(Channels(), mask, bits);
  const std::size_t lanes = std::min(size, hn::Lanes(Channels()));
  for (std::size_t i = 0; i < lanes; ++i) to[i] = (bits[0] >> i) & 1;
}

// Whether |a| lies within [2^low, 2^high]. False for NaN.
HWY_INLINE Mask IsWithin(Vector a, double low, double high) {
  const Vector magnitude = hn::Abs(a);
  return And(hn::Ge(magnitude, Constant(low)),
             hn::Le(magnitude, Constant(high)));
}

HWY_INLINE Mask IsZeroOrWithin(Vector a, double low, double high) {
  return Or(IsZero(a), IsWithin(a, low, high));
}

// 1/a. REQUIRES: a is a power of two within [2^-1022, 2^1022].
HWY_INLINE Vector InversePowerOfTwo(Vector a) {
  const hn::RebindToUnsigned<Channels> bits;
  const auto twice_bias = hn::Set(bits, std::uint64_t{2046} << 52);
  return hn::BitCast(Channels(), hn::Sub(twice_bias, hn::BitCast(bits, a)));
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_LANES_INL_H_
