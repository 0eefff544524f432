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

// A copy of a known size is a load.
HWY_INLINE hn::Vec<Doubles> LoadAnywhere(const std::byte* from) {
  double lanes[kMaxLanes];
  std::memcpy(lanes, from, hn::Lanes(Doubles()) * sizeof(double));
  return hn::LoadU(Doubles(), lanes);
}

// Calls visit(limbs, i, lanes) for the limbs from i on: a vector, of which the
// last may be padded with zeros.
template <typename Visit>
HWY_INLINE void ForEachVector(const std::byte* limbs, std::size_t size,
                              const Visit& visit) {
  const std::size_t lanes = hn::Lanes(Doubles());
  std::size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    visit(LoadAnywhere(limbs + i * sizeof(double)), i, lanes);
  }
  if (i == size) return;
  std::byte rest[kMaxLanes * sizeof(double)] = {};
  std::memcpy(rest, limbs + i * sizeof(double), (size - i) * sizeof(double));
  visit(LoadAnywhere(rest), i, size - i);
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
  ForEachVector(limbs, size, [&](hn::Vec<Doubles> v, std::size_t, std::size_t) {
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
  ForEachVector(
      limbs, size, [&](hn::Vec<Doubles> v, std::size_t i, std::size_t lanes) {
        const auto units = hn::Mul(v, factor);
        const auto part = hn::Trunc(hn::Mul(units, down));
        const auto more_high = hn::ConvertTo(di, part);
        const auto more_low =
            hn::ConvertTo(di, hn::Sub(units, hn::Mul(part, up)));
        if (HWY_LIKELY(lanes == hn::Lanes(d))) {
          hn::StoreU(hn::Add(hn::LoadU(di, high + i), more_high), di, high + i);
          hn::StoreU(hn::Add(hn::LoadU(di, low + i), more_low), di, low + i);
          return;
        }
        std::int64_t highs[kMaxLanes];
        std::int64_t lows[kMaxLanes];
        hn::StoreU(more_high, di, highs);
        hn::StoreU(more_low, di, lows);
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          high[i + lane] += highs[lane];
          low[i + lane] += lows[lane];
        }
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(RangeOn);
HWY_EXPORT(AddOn);

LimbRange RangeOfLimbs(const std::byte* limbs, std::size_t size) {
  return HWY_DYNAMIC_DISPATCH(RangeOn)(limbs, size);
}

void AddLimbs(const std::byte* limbs, std::size_t size, double power,
              Halves& integers) {
  HWY_DYNAMIC_DISPATCH(AddOn)
  (limbs, size, power, integers.high.data(), integers.low.data());
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
