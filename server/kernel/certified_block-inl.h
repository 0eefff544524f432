// A block of one channel, summed and certified: the loop that matters.
//
// Two sets of accumulators, because an addition takes four cycles and a set is
// busy for less. What certifies the block is the processor's own word that
// nothing was rounded, or that elements are multiples of a unit
// (arithmetic_flag-inl.h); where it gives none, they are scanned in the same
// pass: integer operations, which go where the sums' additions, of which a core
// has least, leave room. A block that turns out not to be certified has been
// summed in vain, so after one the next is looked at first.
#if defined(BATCHNORMD_SERVER_KERNEL_CERTIFIED_BLOCK_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_CERTIFIED_BLOCK_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_CERTIFIED_BLOCK_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_CERTIFIED_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "server/kernel/accumulate-inl.h"
#include "server/kernel/arithmetic_flag-inl.h"
#include "server/kernel/certificate.h"
#include "server/kernel/lanes-inl.h"
#include "server/kernel/unit_probe-inl.h"

// A lambda of a loop's, which is never called: what it captures would be in
// memory, the accumulators too.
#undef BN_IN_THE_LOOP
#define BN_IN_THE_LOOP HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Integer totals of lanes, in the order of LaneScale's members.
inline constexpr std::size_t kSums = 6;
template <Dtype kDtype>
inline constexpr std::size_t kSumsOf = Certificate<kDtype>::kWide ? 6 : 3;

struct LaneTotals {
  HWY_ALIGN std::int64_t units[kSums][kMaxLanes];
};

template <Dtype kDtype>
HWY_INLINE void ClearLanes(LaneTotals& totals) {
  const IntegerTag di;
  for (std::size_t k = 0; k < kSumsOf<kDtype>; ++k) {
    hn::Store(hn::Zero(di), di, totals.units[k]);
  }
}

HWY_INLINE void AddGain(DoubleVector accumulator, DoubleVector start,
                        std::int64_t* HWY_RESTRICT total) {
  const IntegerTag di;
  const auto gain =
      hn::Sub(hn::BitCast(di, accumulator), hn::BitCast(di, start));
  hn::Store(hn::Add(hn::Load(di, total), gain), di, total);
}

// Collects in `differences` whether an accumulator has left the binade where it
// started. (An infinity and NaN have.)
HWY_INLINE void SeeBinade(DoubleVector accumulator, DoubleVector start,
                          hn::Vec<IntegerTag>& differences) {
  const IntegerTag di;
  differences = hn::Or(differences, hn::Xor(hn::BitCast(di, accumulator),
                                            hn::BitCast(di, start)));
}
HWY_INLINE bool AllStayed(hn::Vec<IntegerTag> differences) {
  const IntegerTag di;
  const auto of_exponents =
      hn::And(differences, hn::Set(di, -(std::int64_t{1} << 52)));
  return hn::AllTrue(di, hn::Eq(of_exponents, hn::Zero(di)));
}

// The least value that is not 0 and the greatest magnitude, as
// Certificate::DoubledLeast and DoubledBound compare them.
template <typename Bits>
struct Extremes {
  Bits least;
  Bits greatest;
};

// Some rows of as many elements each, all of one channel.
struct Rows {
  std::size_t rows;
  std::int64_t stride;  // in elements
  std::size_t length;
};

template <Dtype kDtype, bool kSquares>
inline constexpr bool kScansWhileSumming =
    !kSeesInexact && !kProbesUnits<kDtype> &&
    kBoundedBy<kDtype, kSquares> != BoundedBy::kF16;

// Whether all that may be wrong with products is an infinity or NaN: it has
// taken the sums out of their binades.
template <Dtype kDtype, bool kSquares>
inline constexpr bool kMustBeFinite =
    !kSeesInexact && !kSquares &&
    kBoundedBy<kDtype, kSquares> == BoundedBy::kF16;

// What a scan reads at once: as many elements as two vectors of doubles have,
// where one of elements holds so many.
template <Dtype kDtype>
inline constexpr bool kScansPairs =
    HWY_TARGET != HWY_SCALAR && !Certificate<kDtype>::kWide;
template <Dtype kDtype>
using NarrowTag = hn::Rebind<BitsOf<kDtype>, DoubleTag>;  // as many lanes
#if HWY_TARGET == HWY_SCALAR
template <Dtype kDtype>
using ScanTag = NarrowTag<kDtype>;
#else
template <Dtype kDtype>
using ScanTag =
    std::conditional_t<kScansPairs<kDtype>, hn::Twice<NarrowTag<kDtype>>,
                       NarrowTag<kDtype>>;
#endif
template <Dtype kDtype>
HWY_INLINE std::size_t ScanLanes() {
  return hn::Lanes(ScanTag<kDtype>());
}

// Takes a vector into the least values that are not 0, and into the greatest.
template <Dtype kDtype, class V>
HWY_INLINE void ScanVector(V v, V& least, V& greatest) {
  const hn::DFromV<V> d;
  const auto doubled = hn::Add(v, v);  // without the sign
  // 0 becomes the greatest of all.
  least = hn::Min(least, hn::Sub(doubled, hn::Set(d, BitsOf<kDtype>{1})));
  greatest = hn::Max(greatest, doubled);
}

template <Dtype kDtype>
HWY_INLINE Extremes<BitsOf<kDtype>> ExtremesOf(
    hn::Vec<ScanTag<kDtype>> least, hn::Vec<ScanTag<kDtype>> greatest) {
  using Bits = BitsOf<kDtype>;
  const ScanTag<kDtype> d;
  HWY_ALIGN Bits all_least[hn::MaxLanes(d)];
  HWY_ALIGN Bits all_greatest[hn::MaxLanes(d)];
  hn::Store(least, d, all_least);
  hn::Store(greatest, d, all_greatest);
  Extremes<Bits> extremes = {static_cast<Bits>(~Bits{0}), 0};
  for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
    extremes.least = HWY_MIN(extremes.least, all_least[k]);
    extremes.greatest = HWY_MAX(extremes.greatest, all_greatest[k]);
  }
  return extremes;
}

template <Dtype kDtype>
HWY_INLINE Extremes<BitsOf<kDtype>> ScanBlock(const BitsOf<kDtype>* values,
                                              const Rows& block) {
  const ScanTag<kDtype> d;
  const std::size_t lanes = hn::Lanes(d);
  auto least = hn::Set(d, static_cast<BitsOf<kDtype>>(~BitsOf<kDtype>{0}));
  auto greatest = hn::Zero(d);
  for (std::size_t row = 0; row < block.rows; ++row) {
    for (std::size_t i = 0; i < block.length; i += lanes) {
      ScanVector<kDtype>(LoadSome(d, values, i, block.length), least, greatest);
    }
    values += block.stride;
  }
  return ExtremesOf<kDtype>(least, greatest);
}

// Whether what was found certifies a block. Sums of squares do the rest, of
// products where elements are probed.
template <Dtype kDtype, bool kSquares>
HWY_INLINE bool AreCertified(const Extremes<BitsOf<kDtype>>& a,
                             const Extremes<BitsOf<kDtype>>& b,
                             const LaneScale<kDtype>& scale) {
  if (a.least < scale.a_least) return false;
  if constexpr (kSquares) return true;
  if (b.least < scale.b_least) return false;
  if (kProbesUnits<kDtype> && scale.is_probed) return true;
  return a.greatest < scale.a_bound && b.greatest < scale.b_bound;
}

// What a block's values are; b is a for squares.
template <Dtype kDtype>
struct BlockExtremes {
  Extremes<BitsOf<kDtype>> a;
  Extremes<BitsOf<kDtype>> b;
};

template <Dtype kDtype, bool kSquares>
HWY_INLINE BlockExtremes<kDtype> ScanBoth(const BitsOf<kDtype>* a,
                                          const BitsOf<kDtype>* b,
                                          const Rows& block) {
  const auto of_a = ScanBlock<kDtype>(a, block);
  if constexpr (kSquares) return {of_a, of_a};
  return {of_a, ScanBlock<kDtype>(b, block)};
}

// Slices that products are added in: two, or the upper one alone, for a block
// whose products are found to have no bits below it; or that for each tile of a
// strip whose values are found to be large enough, and two for the others.
enum class Slices : std::uint8_t { kTwo, kUpper, kUpperIfLarge };

// Of few digits, in a range that is not too wide, products have none. f16 at
// the top of them all have too many digits.
template <Dtype kDtype, bool kSquares>
inline constexpr bool kUpperMayDo =
    (kSeesInexact || kSeesUnderflow) && sizeof(BitsOf<kDtype>) == 2 &&
    kBoundedBy<kDtype, kSquares> != BoundedBy::kF16;

// When that is worth a try: seldom after it did not do, several times in a row.
class UpperTries {
 public:
  HWY_INLINE bool IsDue() { return --until_next_ < 0; }
  void Did() { misses_ = until_next_ = 0; }
  void DidNot() {
    constexpr int kSeldom = 6;
    until_next_ = (1 << misses_) - 1;
    misses_ = HWY_MIN(misses_ + 1, kSeldom);
  }

 private:
  int misses_ = 0;
  int until_next_ = 0;
};

// From here on the flag is watched that certifies such sums, if one does.
template <Dtype kDtype, bool kSquares>
HWY_INLINE void WatchFlagOf() {
  if constexpr (kSeesInexact || kUpperMayDo<kDtype, kSquares>) {
    WatchFlag(Flag::kInexact);
  } else if constexpr (kProbesUnits<kDtype>) {
    WatchFlag(Flag::kUnderflow);
  }
}

// Adds sum(a) and sum(a*b) of a block, or returns false and adds nothing.
// What follows the block in memory is fetched meanwhile, a line every
// `fetched_every` elements.
// REQUIRES: the block has at most BlockRows(length) rows; a is b for squares;
// no other arithmetic since WatchFlagOf has raised the flag; fetched_every is a
// power of two.
template <Dtype kDtype, bool kSquares, Slices kSlices = Slices::kTwo>
HWY_INLINE bool AddCertifiedBlock(const BitsOf<kDtype>* a,
                                  const BitsOf<kDtype>* b, const Rows& block,
                                  const LaneScale<kDtype>& scale,
                                  std::size_t fetched_every,
                                  LaneTotals& totals) {
  constexpr bool kWide = Certificate<kDtype>::kWide;
  constexpr bool kUpper = kSlices == Slices::kUpper;
  constexpr bool kScans = kScansWhileSumming<kDtype, kSquares> && !kUpper;
  constexpr bool kProbes = kProbesUnits<kDtype>;
  const DoubleTag d;
  const ScanTag<kDtype> ds;
  const std::size_t lanes = LaneCount();
  const auto sum = hn::Set(d, scale.sum);
  const auto top = hn::Set(d, scale.top);
  const auto rest = hn::Set(d, scale.rest);
  const auto sum_rest = hn::Set(d, scale.sum_rest);
  const auto error = hn::Set(d, scale.error);
  const auto error_rest = hn::Set(d, scale.error_rest);
  auto sum0 = sum, sum1 = sum, top0 = top, top1 = top;
  auto rest0 = rest, rest1 = rest, sum_rest0 = sum_rest, sum_rest1 = sum_rest;
  auto error0 = error, error1 = error;
  auto error_rest0 = error_rest, error_rest1 = error_rest;

  auto a_least = hn::Set(ds, static_cast<BitsOf<kDtype>>(~BitsOf<kDtype>{0}));
  auto a_greatest = hn::Zero(ds);
  auto b_least = a_least, b_greatest = a_greatest;

  const ProbeTag df;
  const auto a_factor = hn::Set(df, scale.a_probe.factor);
  const auto b_factor = hn::Set(df, scale.b_probe.factor);
  auto a_squares = hn::Set(df, scale.a_probe.squares);
  auto b_squares = hn::Set(df, scale.b_probe.squares);
  // Looks at elements i and on, as many as `load` reads at once.
  const auto look = [&](std::size_t i, const auto& load) BN_IN_THE_LOOP {
    if constexpr (kScans) {
      ScanVector<kDtype>(load(a + i), a_least, a_greatest);
      if constexpr (kSquares) return;
      ScanVector<kDtype>(load(b + i), b_least, b_greatest);
    } else if constexpr (kProbes) {
      ProbeVector<kSquares>(hn::BitCast(df, load(a + i)), a_factor, a_squares);
      if constexpr (kSquares) return;
      ProbeVector<kSquares>(hn::BitCast(df, load(b + i)), b_factor, b_squares);
    }
  };

  const auto add0 = [&](DoubleVector va, DoubleVector vb) BN_IN_THE_LOOP {
    if constexpr (kWide) {
      sum_rest0 = hn::Add(sum_rest0, TakeSlice(sum0, va));
      AddWideProduct(va, vb, top0, rest0, error0, error_rest0);
    } else {
      sum0 = AddAside(va, sum0);
      if constexpr (kUpper) {
        top0 = hn::MulAdd(va, vb, top0);
      } else {
        AddExactProduct(va, vb, top0, rest0);
      }
    }
  };
  const auto add1 = [&](DoubleVector va, DoubleVector vb) BN_IN_THE_LOOP {
    if constexpr (kWide) {
      sum_rest1 = hn::Add(sum_rest1, TakeSlice(sum1, va));
      AddWideProduct(va, vb, top1, rest1, error1, error_rest1);
    } else {
      sum1 = AddAside(va, sum1);
      if constexpr (kUpper) {
        top1 = hn::MulAdd(va, vb, top1);
      } else {
        AddExactProduct(va, vb, top1, rest1);
      }
    }
  };
  // Elements i and on, `left` of them, fewer than two vectors of doubles;
  // `load` reads as many of a vector as it is told.
  const auto add_rest = [&](std::size_t i, std::size_t left,
                            const auto& load) BN_IN_THE_LOOP {
    const ElementBitsTag<kDtype> de;
    for (std::size_t k = 0; (kScans || kProbes) && k < left;
         k += hn::Lanes(ds)) {
      const std::size_t size = HWY_MIN(left - k, hn::Lanes(ds));
      look(i + k, [&](const BitsOf<kDtype>* from)
                      BN_IN_THE_LOOP { return load(ds, from, size); });
    }
    const std::size_t size0 = HWY_MIN(left, lanes);
    const auto a0 = Widen<kDtype>(load(de, a + i, size0));
    add0(a0, kSquares ? a0 : Widen<kDtype>(load(de, b + i, size0)));
    if (left <= lanes) return;
    i += lanes;
    const auto a1 = Widen<kDtype>(load(de, a + i, left - lanes));
    add1(a1, kSquares ? a1 : Widen<kDtype>(load(de, b + i, left - lanes)));
  };
  for (std::size_t row = 0; row < block.rows; ++row) {
    std::size_t i = 0;
    for (; i + 2 * lanes <= block.length; i += 2 * lanes) {
      for (std::size_t k = 0; k < 2 * lanes; k += hn::Lanes(ds)) {
        if (((i + k) & (fetched_every - 1)) == 0) {
          PrefetchFar(a + i + k + block.length);
          if constexpr (!kSquares) PrefetchFar(b + i + k + block.length);
        }
        look(i + k, [&](const BitsOf<kDtype>* from)
                        BN_IN_THE_LOOP { return hn::LoadU(ds, from); });
      }
      const auto a0 = LoadWide<kDtype>(a + i);
      const auto a1 = LoadWide<kDtype>(a + i + lanes);
      const auto b0 = kSquares ? a0 : LoadWide<kDtype>(b + i);
      const auto b1 = kSquares ? a1 : LoadWide<kDtype>(b + i + lanes);
      add0(a0, b0);
      add1(a1, b1);
    }
    if (const std::size_t left = block.length - i; left > 0) {
      if (HWY_LIKELY(block.length >= 2 * lanes)) {
        add_rest(
            i, left,
            [](auto tag, const BitsOf<kDtype>* from, std::size_t size)
                BN_IN_THE_LOOP { return LoadLast(tag, from + size, size); });
      } else {
        add_rest(i, left,
                 [](auto tag, const BitsOf<kDtype>* from, std::size_t size)
                     BN_IN_THE_LOOP { return LoadFirst(tag, from, size); });
      }
    }
    a += block.stride;
    b += block.stride;
  }
  if constexpr (kSeesInexact || kUpper) {
    auto differences = hn::Zero(IntegerTag());
    SeeBinade(sum0, sum, differences);
    SeeBinade(sum1, sum, differences);
    SeeBinade(top0, top, differences);
    SeeBinade(top1, top, differences);
    SeeBinade(rest0, rest, differences);
    SeeBinade(rest1, rest, differences);
    if constexpr (kWide) {
      SeeBinade(sum_rest0, sum_rest, differences);
      SeeBinade(sum_rest1, sum_rest, differences);
      SeeBinade(error0, error, differences);
      SeeBinade(error1, error, differences);
      SeeBinade(error_rest0, error_rest, differences);
      SeeBinade(error_rest1, error_rest, differences);
      if (IsRaised(Flag::kInexact, sum_rest0, sum_rest1, error_rest0,
                   error_rest1)) {
        return false;
      }
    }
    if (IsRaised(Flag::kInexact, sum0, sum1, top0, top1, rest0, rest1) ||
        !AllStayed(differences)) {
      return false;
    }
  }
  if (kScans && HWY_UNLIKELY((!AreCertified<kDtype, kSquares>(
                    ExtremesOf<kDtype>(a_least, a_greatest),
                    ExtremesOf<kDtype>(b_least, b_greatest), scale)))) {
    return false;
  }
  if (kProbes && scale.is_probed) {
    const auto a_bound = hn::Set(df, scale.a_probe.squares_bound);
    const auto b_bound = hn::Set(df, scale.b_probe.squares_bound);
    if (IsRaised(Flag::kUnderflow) ||
        !hn::AllTrue(df, hn::And(hn::Lt(a_squares, a_bound),
                                 hn::Lt(b_squares, b_bound)))) {
      return false;
    }
  }
  if constexpr (kMustBeFinite<kDtype, kSquares>) {
    auto differences = hn::Zero(IntegerTag());
    SeeBinade(sum0, sum, differences);
    SeeBinade(sum1, sum, differences);
    SeeBinade(top0, top, differences);
    SeeBinade(top1, top, differences);
    if (!AllStayed(differences)) return false;
  }
  if constexpr (kSquares && !kSeesInexact) {
    // Squares only grow their sum, so the last one shows the greatest.
    const auto limit = hn::Set(d, scale.top_limit);
    if (!hn::AllTrue(d, hn::And(hn::Lt(top0, limit), hn::Lt(top1, limit)))) {
      return false;
    }
  }
  AddGain(sum0, sum, totals.units[0]);
  AddGain(sum1, sum, totals.units[0]);
  AddGain(top0, top, totals.units[1]);
  AddGain(top1, top, totals.units[1]);
  AddGain(rest0, rest, totals.units[2]);
  AddGain(rest1, rest, totals.units[2]);
  if constexpr (kWide) {
    AddGain(sum_rest0, sum_rest, totals.units[3]);
    AddGain(sum_rest1, sum_rest, totals.units[3]);
    AddGain(error0, error, totals.units[4]);
    AddGain(error1, error, totals.units[4]);
    AddGain(error_rest0, error_rest, totals.units[5]);
    AddGain(error_rest1, error_rest, totals.units[5]);
  }
  return true;
}

// The elements of a block that two sets of lanes take.
template <Dtype kDtype>
HWY_INLINE std::size_t BlockSize() {
  return 2 * LaneCount() * Certificate<kDtype>::kLaneAdds;
}

// The rows of `length` elements that a block can have, 0 if not even one.
template <Dtype kDtype>
HWY_INLINE std::size_t BlockRows(std::size_t length) {
  const std::size_t pair = 2 * LaneCount();
  return Certificate<kDtype>::kLaneAdds / ((length + pair - 1) / pair);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_CERTIFIED_BLOCK_INL_H_
