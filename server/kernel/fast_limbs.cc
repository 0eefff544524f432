#include "server/kernel/fast_limbs.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "server/kernel/certificate.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_limbs.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Doubles = hn::CappedTag<double, 8>;
using Integers = hn::CappedTag<std::int64_t, 8>;

constexpr std::size_t kMaxLanes = 8;

HWY_INLINE hn::Vec<Doubles> LoadAnywhere(const std::byte* from) {
#if HWY_TARGET == HWY_SCALAR
  double limb = 0;
  std::memcpy(&limb, from, sizeof limb);
  return hn::Set(Doubles(), limb);
#else
  const hn::Repartition<std::uint8_t, Doubles> bytes;
  return hn::BitCast(
      Doubles(), hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(from)));
#endif
}

// Calls visit(limbs, i) for the limbs from i on: a vector, of which the last
// may be padded with zeros.
template <typename Visit>
HWY_INLINE void ForEachVector(const std::byte* limbs, std::size_t size,
                              const Visit& visit) {
  const std::size_t lanes = hn::Lanes(Doubles());
  std::size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    visit(LoadAnywhere(limbs + i * sizeof(double)), i);
  }
  if (i == size) return;
  std::byte rest[kMaxLanes * sizeof(double)] = {};
  std::memcpy(rest, limbs + i * sizeof(double), (size - i) * sizeof(double));
  visit(LoadAnywhere(rest), i);
}

// Halves have room for whole vectors.
static_assert(kHalvesChannels % kMaxLanes == 0);

HWY_INLINE void AddTo(std::int64_t* to, hn::Vec<Integers> more) {
  const Integers di;
  hn::Store(hn::Add(hn::Load(di, to), more), di, to);
}

// The lowest bit of a double v is v less what is left when it is cleared, which
// is exact; that of a power of two is the hidden one.
LimbRange RangeOn(const std::byte* limbs, std::size_t size) {
  const Doubles d;
  const Integers di;
  const auto one = hn::Set(di, 1);
  const auto fraction = hn::Set(di, (std::int64_t{1} << 52) - 1);
  auto lowest = hn::Set(di, std::numeric_limits<std::int64_t>::max());
  auto greatest = hn::Zero(di);
  ForEachVector(limbs, size, [&](hn::Vec<Doubles> v, std::size_t) {
    const auto bits = hn::BitCast(di, v);
    const auto cleared = hn::BitCast(d, hn::And(bits, hn::Sub(bits, one)));
    const auto magnitude = hn::BitCast(di, hn::Abs(v));
    const auto is_power = hn::Eq(hn::And(bits, fraction), hn::Zero(di));
    const auto lowest_bit = hn::IfThenElse(
        is_power, magnitude, hn::BitCast(di, hn::Abs(hn::Sub(v, cleared))));
    const auto is_zero = hn::Eq(magnitude, hn::Zero(di));
    lowest = hn::IfThenElse(is_zero, lowest, hn::Min(lowest, lowest_bit));
    greatest = hn::Max(greatest, magnitude);
  });
  std::int64_t lows[kMaxLanes];
  std::int64_t highs[kMaxLanes];
  hn::StoreU(lowest, di, lows);
  hn::StoreU(greatest, di, highs);
  const std::size_t lanes = hn::Lanes(di);
  return {static_cast<std::uint64_t>(*std::min_element(lows, lows + lanes)),
          static_cast<std::uint64_t>(*std::max_element(highs, highs + lanes))};
}

void AddOn(const std::byte* limbs, std::size_t size, double power,
           std::int64_t* high, std::int64_t* low) {
  const Doubles d;
  const Integers di;
  const auto factor = hn::Set(d, power);
  const auto down = hn::Set(d, PowerOfTwoDouble(-kLimbLowBits));
  const auto up = hn::Set(d, PowerOfTwoDouble(kLimbLowBits));
  ForEachVector(limbs, size, [&](hn::Vec<Doubles> v, std::size_t i) {
    const auto units = hn::Mul(v, factor);
    const auto part = hn::Trunc(hn::Mul(units, down));
    AddTo(high + i, hn::ConvertTo(di, part));
    AddTo(low + i, hn::ConvertTo(di, hn::Sub(units, hn::Mul(part, up))));
  });
}

// The sum with the middle of a binade whose doubles are whole units is rounded
// to such, and the bits of doubles there count units. Whatever is no number, or
// has bits below the unit, is not what it was rounded to.
bool AddQuicklyOn(const std::byte* limbs, std::size_t size, int unit,
                  std::int64_t* high, std::int64_t* low) {
  const Doubles d;
  const Integers di;
  const auto high_middle = hn::Set(d, MiddleOf(unit + kLimbLowBits));
  const auto low_middle = hn::Set(d, MiddleOf(unit));
  auto greatest = hn::Zero(d);
  auto are_units = hn::FirstN(d, hn::Lanes(d));
  ForEachVector(limbs, size, [&](hn::Vec<Doubles> v, std::size_t i) {
    const auto at_high = hn::Add(v, high_middle);
    const auto rest = hn::Sub(v, hn::Sub(at_high, high_middle));
    const auto at_low = hn::Add(rest, low_middle);
    AddTo(high + i,
          hn::Sub(hn::BitCast(di, at_high), hn::BitCast(di, high_middle)));
    AddTo(low + i,
          hn::Sub(hn::BitCast(di, at_low), hn::BitCast(di, low_middle)));
    are_units = hn::And(are_units, hn::Eq(hn::Sub(at_low, low_middle), rest));
    greatest = hn::Max(greatest, hn::Abs(v));
  });
  const auto most = hn::Set(d, PowerOfTwoDouble(unit + kQuickBits));
  return hn::AllTrue(d, hn::And(are_units, hn::Le(greatest, most)));
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(RangeOn);
HWY_EXPORT(AddOn);
HWY_EXPORT(AddQuicklyOn);

LimbRange RangeOfLimbs(const std::byte* limbs, std::size_t size) {
  return HWY_DYNAMIC_DISPATCH(RangeOn)(limbs, size);
}

void AddLimbs(const std::byte* limbs, std::size_t size, double power,
              Halves& integers) {
  HWY_DYNAMIC_DISPATCH(AddOn)
  (limbs, size, power, integers.high.data(), integers.low.data());
}

bool AddLimbsQuickly(const std::byte* limbs, std::size_t size, int unit,
                     Halves& integers) {
  return HWY_DYNAMIC_DISPATCH(AddQuicklyOn)(
      limbs, size, unit, integers.high.data(), integers.low.data());
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
