#include "server/kernel/fast_totals.h"

#include <algorithm>
#include <cassert>

#include "server/kernel/certificate.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_totals.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kMaxLanes = 8;
using Integers = hn::CappedTag<std::int64_t, kMaxLanes>;
using Unsigned = hn::RebindToUnsigned<Integers>;
using Doubles = hn::RebindToFloat<Integers>;
using Vector = hn::Vec<Integers>;

HWY_INLINE Vector Constant(std::int64_t value) {
  return hn::Set(Integers(), value);
}

HWY_INLINE Vector ShiftRightLogical(Vector a, int bits) {
  return hn::BitCast(Integers(),
                     hn::ShiftRightSame(hn::BitCast(Unsigned(), a), bits));
}

// 1 where a sum of 64-bit halves, of which `part` is one, went round.
HWY_INLINE Vector CarryOf(Vector sum, Vector part) {
  const auto is_less =
      hn::Lt(hn::BitCast(Unsigned(), sum), hn::BitCast(Unsigned(), part));
  return hn::BitCast(Integers(),
                     hn::IfThenElseZero(is_less, hn::Set(Unsigned(), 1)));
}

// 128-bit integers, two's complement, as a low and a high half. (Vectors of
// unknown length cannot be members of a struct.)

// The high half of a shift to the left. REQUIRES for shifts: 0 < bits < 64.
HWY_INLINE Vector HighOfShiftLeft(Vector low, Vector high, int bits) {
  return hn::Or(hn::ShiftLeftSame(high, bits),
                ShiftRightLogical(low, 64 - bits));
}
// The low half of a shift to the right.
HWY_INLINE Vector LowOfShiftRight(Vector low, Vector high, int bits) {
  return hn::Or(ShiftRightLogical(low, bits),
                hn::ShiftLeftSame(high, 64 - bits));
}
HWY_INLINE void AddTo(Vector& low, Vector& high, Vector more_low,
                      Vector more_high) {
  low = hn::Add(low, more_low);
  high = hn::Add(hn::Add(high, more_high), CarryOf(low, more_low));
}

// ---- Memory: the integers of a channel are side by side, those of the next
// one a line further

// One of the integers of many channels.
struct Row {
  alignas(64) ChannelTotals::Wide values[kHalvesChannels];

  HWY_INLINE void Load(std::size_t i, Vector& low, Vector& high) const {
    hn::LoadInterleaved2(Integers(), HalvesOf(i), low, high);
  }
  HWY_INLINE void Store(std::size_t i, Vector low, Vector high) {
    hn::StoreInterleaved2(low, high, Integers(), HalvesOf(i));
  }

 private:
  const std::int64_t* HalvesOf(std::size_t i) const {
    return reinterpret_cast<const std::int64_t*>(values + i);
  }
  std::int64_t* HalvesOf(std::size_t i) {
    return reinterpret_cast<std::int64_t*>(values + i);
  }
};

// All of them.
struct Rows {
  Row sum;
  Row top;
  Row rest;

  // Up to a multiple of the lanes there are zeros.
  HWY_INLINE void Gather(std::span<const ChannelTotals> totals) {
    std::size_t c = 0;
    for (; c < totals.size(); ++c) Set(c, totals[c]);
    for (; c % kMaxLanes != 0; ++c) Set(c, {});
  }

  HWY_INLINE void Scatter(const TotalsScale& scale,
                          std::span<ChannelTotals> totals) const {
    for (std::size_t c = 0; c < totals.size(); ++c) {
      totals[c].sum = sum.values[c];
      totals[c].top = top.values[c];
      totals[c].rest = rest.values[c];
      totals[c].scale = scale;
    }
  }

 private:
  HWY_INLINE void Set(std::size_t c, const ChannelIntegers& integers) {
    sum.values[c] = integers.sum;
    top.values[c] = integers.top;
    rest.values[c] = integers.rest;
  }
};

// ---- Out of halves

// high * 2^kLimbLowBits + low, whose halves have signs of their own.
HWY_INLINE void Join(const Halves& halves, std::size_t i, Vector& low,
                     Vector& high) {
  const Integers d;
  const Vector upper = hn::Load(d, halves.high.data() + i);
  const Vector lower = hn::Load(d, halves.low.data() + i);
  low = hn::ShiftLeft<kLimbLowBits>(upper);
  high = hn::ShiftRight<64 - kLimbLowBits>(upper);
  AddTo(low, high, lower, hn::ShiftRight<63>(lower));
}

void SetIntegersOn(const TotalsScale& scale, const Halves& sum,
                   const Halves& products, std::span<ChannelTotals> totals) {
  const int top_shift = scale.top_shift();
  const Vector below_top = Constant((std::int64_t{1} << top_shift) - 1);
  Rows rows;
  for (std::size_t i = 0; i < totals.size(); i += hn::Lanes(Integers())) {
    Vector low;
    Vector high;
    Join(sum, i, low, high);
    rows.sum.Store(i, low, high);
    Join(products, i, low, high);
    rows.top.Store(i, LowOfShiftRight(low, high, top_shift),
                   hn::ShiftRightSame(high, top_shift));
    rows.rest.Store(i, hn::And(low, below_top), Constant(0));
  }
  rows.Scatter(scale, totals);
}

// Within a few units of its last place: what is more than half a unit of the
// high half goes there, so that the two never cancel.
HWY_INLINE hn::Vec<Doubles> Approximate(const Halves& halves, std::size_t i) {
  const Integers d;
  const Doubles df;
  const Vector low = hn::Load(d, halves.low.data() + i);
  const Vector carry =
      hn::Add(hn::ShiftRight<kLimbLowBits>(low),
              hn::And(hn::ShiftRight<kLimbLowBits - 1>(low), Constant(1)));
  const Vector high = hn::Add(hn::Load(d, halves.high.data() + i), carry);
  const Vector rest = hn::Sub(low, hn::ShiftLeft<kLimbLowBits>(carry));
  const auto unit = hn::Set(df, PowerOfTwoDouble(kLimbLowBits));
  return hn::Add(hn::Mul(hn::ConvertTo(df, high), unit),
                 hn::ConvertTo(df, rest));
}

HWY_INLINE hn::Mask<Doubles> AreZero(const Halves& halves, std::size_t i) {
  const Integers d;
  const Vector any = hn::Or(hn::Load(d, halves.high.data() + i),
                            hn::Load(d, halves.low.data() + i));
  return hn::RebindMask(Doubles(), hn::Eq(any, hn::Zero(d)));
}

bool AreClearlyOfNumbersOn(std::int64_t count, const Halves& sum,
                           const Halves& squares) {
  const Doubles d;
  const auto n = hn::Set(d, static_cast<double>(count));
  auto all = hn::FirstN(d, hn::Lanes(d));
  for (std::size_t i = 0; i < kHalvesChannels; i += hn::Lanes(d)) {
    const auto S = Approximate(sum, i);
    const auto Q = Approximate(squares, i);
    const auto least = hn::Mul(hn::Set(d, 1.0000001), hn::Mul(S, S));
    const auto are_zero = hn::And(AreZero(sum, i), AreZero(squares, i));
    all = hn::And(all, hn::Or(hn::Gt(hn::Mul(n, Q), least), are_zero));
  }
  return hn::AllTrue(d, all);
}

// ---- Merging

#if HWY_TARGET == HWY_SCALAR

void MergeOn(std::span<const ChannelTotals> parts,
             std::span<ChannelTotals> totals) {
  for (std::size_t c = 0; c < totals.size(); ++c) totals[c].Merge(parts[c]);
}

#else

constexpr std::size_t kIntegerHalves = 6;  // of three integers
static_assert(sizeof(ChannelIntegers) ==
              kIntegerHalves * sizeof(std::uint64_t));

// A low half and its high one in neighbouring lanes. Whether all sums are
// within 2^120.
template <class D, class V>
HWY_INLINE hn::Mask<D> AddPairs(D d, V more, V total, V& sum) {
  const auto zero = hn::Zero(d);
  const auto halves = hn::Add(total, more);
  // -1 where a half went round: what is to be taken from the one above it.
  const auto carry = hn::VecFromMask(d, hn::Lt(halves, more));
  sum = hn::Sub(halves, hn::OddEven(hn::DupEven(carry), zero));
  const auto bound = hn::Set(d, std::uint64_t{1} << (120 - 64));
  const auto moved = hn::OddEven(hn::Add(sum, bound), zero);
  return hn::Lt(moved, hn::Add(bound, bound));
}

// Of a vector of halves.
template <class D>
HWY_INLINE bool AddVector(D d, const std::uint64_t* part,
                          std::uint64_t* total) {
  auto sum = hn::Zero(d);
  const auto are_small =
      AddPairs(d, hn::LoadU(d, part), hn::LoadU(d, total), sum);
  hn::StoreU(sum, d, total);
  return hn::AllTrue(d, are_small);
}

// Of all of them, in a vector that has room for more.
template <class D>
HWY_INLINE bool AddMasked(D d, const std::uint64_t* part,
                          std::uint64_t* total) {
  const auto there = hn::FirstN(d, kIntegerHalves);
  auto sum = hn::Zero(d);
  const auto are_small = AddPairs(d, hn::MaskedLoad(there, d, part),
                                  hn::MaskedLoad(there, d, total), sum);
  hn::BlendedStore(sum, there, d, total);
  return hn::AllTrue(d, are_small);
}

// Stores under a mask are slow where vectors have four lanes.
HWY_INLINE bool AddIntegers(const ChannelIntegers& part,
                            ChannelIntegers& total) {
  const auto* const more = reinterpret_cast<const std::uint64_t*>(&part);
  auto* const halves = reinterpret_cast<std::uint64_t*>(&total);
  const hn::CappedTag<std::uint64_t, kMaxLanes> d;
  const hn::CappedTag<std::uint64_t, 4> fours;
  const hn::CappedTag<std::uint64_t, 2> twos;
  if (hn::Lanes(d) >= kIntegerHalves) return AddMasked(d, more, halves);
  bool are_small = AddVector(twos, more + 4, halves + 4);
  if (hn::Lanes(fours) == 4) {
    are_small &= AddVector(fours, more, halves);
  } else {
    are_small &= AddVector(twos, more, halves);
    are_small &= AddVector(twos, more + 2, halves + 2);
  }
  return are_small;
}

void MergeOn(std::span<const ChannelTotals> parts,
             std::span<ChannelTotals> totals) {
  for (std::size_t c = 0; c < totals.size(); ++c) {
    if (totals[c].scale != parts[c].scale || !parts[c].fits()) {
      totals[c].Merge(parts[c]);
    } else if (!AddIntegers(parts[c], totals[c])) {
      totals[c].Add(0, 0, 0);  // which makes room
    }
  }
}

#endif

// ---- Into limbs

constexpr int kCutBits = 52;

// Whether all high halves are within 2^bits.
HWY_INLINE hn::Mask<Unsigned> IsSmall(Vector high, int bits) {
  const Vector moved = hn::Add(high, Constant(std::int64_t{1} << bits));
  return hn::Lt(hn::BitCast(Unsigned(), moved),
                hn::Set(Unsigned(), std::uint64_t{2} << bits));
}

HWY_INLINE void StoreLimb(Vector limb, double weight, double* to) {
  const Doubles d;
  hn::StoreU(hn::Mul(hn::ConvertTo(d, limb), hn::Set(d, weight)), d, to);
}

bool CutBlock(int top_shift, std::span<const ChannelTotals> totals,
              std::size_t first, const std::array<double*, 2>& sum,
              const std::array<double*, 3>& products) {
  Rows rows;
  rows.Gather(totals);
  const Vector limb = Constant((std::int64_t{1} << kCutBits) - 1);
  const std::size_t lanes = hn::Lanes(Integers());
  bool all_fit = true;
  for (std::size_t i = 0; i < totals.size(); i += lanes) {
    Vector S_low;
    Vector S_high;
    Vector top_low;
    Vector top_high;
    Vector P_low;
    Vector P_high;
    rows.sum.Load(i, S_low, S_high);
    rows.top.Load(i, top_low, top_high);
    rows.rest.Load(i, P_low, P_high);
    AddTo(P_low, P_high, hn::ShiftLeftSame(top_low, top_shift),
          HighOfShiftLeft(top_low, top_high, top_shift));
    StoreLimb(hn::And(S_low, limb), 1, sum[0] + first + i);
    StoreLimb(LowOfShiftRight(S_low, S_high, kCutBits), 0x1p52,
              sum[1] + first + i);
    // Two limbs where these can hold all, so that finishing has less to do.
    const auto is_long = hn::Not(
        hn::RebindMask(Integers(), IsSmall(P_high, kCutBits + 53 - 64)));
    const Vector middle = LowOfShiftRight(P_low, P_high, kCutBits);
    const Vector highest = hn::ShiftRight<2 * kCutBits - 64>(P_high);
    StoreLimb(hn::And(P_low, limb), 1, products[0] + first + i);
    StoreLimb(hn::IfThenElse(is_long, hn::And(middle, limb), middle), 0x1p52,
              products[1] + first + i);
    StoreLimb(hn::IfThenElseZero(is_long, highest), 0x1p104,
              products[2] + first + i);
    // The end of S is within 2^53, and no bit of P is shifted out.
    const auto fit = hn::And(IsSmall(S_high, kCutBits + 53 - 64),
                             IsSmall(top_high, 80 - 64));
    const auto there =
        hn::FirstN(Unsigned(), std::min(lanes, totals.size() - i));
    all_fit &= hn::AllTrue(Unsigned(), hn::Or(fit, hn::Not(there)));
  }
  return all_fit;
}

bool CutIntegersOn(int top_shift, std::span<const ChannelTotals> totals,
                   const std::array<double*, 2>& sum,
                   const std::array<double*, 3>& products) {
  for (std::size_t c = 0; c < totals.size(); c += kHalvesChannels) {
    const std::size_t size = std::min(kHalvesChannels, totals.size() - c);
    if (!CutBlock(top_shift, totals.subspan(c, size), c, sum, products)) {
      return false;
    }
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace batchnorm::kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(SetIntegersOn);
HWY_EXPORT(AreClearlyOfNumbersOn);
HWY_EXPORT(MergeOn);
HWY_EXPORT(CutIntegersOn);

void SetIntegers(const TotalsScale& scale, const Halves& sum,
                 const Halves& products, std::span<ChannelTotals> totals) {
  assert(totals.size() <= kHalvesChannels);
  HWY_DYNAMIC_DISPATCH(SetIntegersOn)
  (scale, sum, products, totals);
}

bool AreClearlyOfNumbers(std::int64_t count, const Halves& sum,
                         const Halves& squares) {
  return HWY_DYNAMIC_DISPATCH(AreClearlyOfNumbersOn)(count, sum, squares);
}

void MergeTotals(std::span<const ChannelTotals> parts,
                 std::span<ChannelTotals> totals) {
  assert(parts.size() == totals.size());
  HWY_DYNAMIC_DISPATCH(MergeOn)(parts, totals);
}

bool CutIntegers(SumKind kind, std::span<const ChannelTotals> totals,
                 const std::array<double*, 2>& sum,
                 const std::array<double*, 3>& products) {
  return HWY_DYNAMIC_DISPATCH(CutIntegersOn)(UnitsOf(kind).top_shift, totals,
                                             sum, products);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
