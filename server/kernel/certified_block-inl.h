// A block of one channel, summed and certified: the loop that matters.
//
// Two sets of accumulators, because an addition takes four cycles and a set is
// busy for less: 3.75 cycles per eight f32 on AVX-512, all of it arithmetic.
// Reads every value twice, the second time from the first-level cache.
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

#include "server/kernel/accumulate-inl.h"
#include "server/kernel/certificate.h"
#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Integer totals of lanes, in the order of LaneScale's members.
inline constexpr std::size_t kSums = 6;
template <Dtype kDtype>
inline constexpr std::size_t kSumsOf = Certificate<kDtype>::kWide ? 6 : 3;

struct LaneTotals {
  HWY_ALIGN std::int64_t units[kSums][kMaxLanes];
};

HWY_INLINE void AddGain(DoubleVector accumulator, DoubleVector start,
                        std::int64_t* HWY_RESTRICT total) {
  const IntegerTag di;
  const auto gain =
      hn::Sub(hn::BitCast(di, accumulator), hn::BitCast(di, start));
  hn::Store(hn::Add(hn::Load(di, total), gain), di, total);
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

template <Dtype kDtype>
HWY_INLINE Extremes<BitsOf<kDtype>> ScanBlock(const BitsOf<kDtype>* values,
                                              const Rows& block) {
  using Bits = BitsOf<kDtype>;
  const hn::ScalableTag<Bits> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto one = hn::Set(d, Bits{1});
  auto least = hn::Set(d, static_cast<Bits>(~Bits{0}));
  auto greatest = hn::Zero(d);
  for (std::size_t row = 0; row < block.rows; ++row) {
    std::size_t i = 0;
    for (; i + lanes <= block.length; i += lanes) {
      // In NCHW, the next channel, whose turn comes after this one's rows.
      PrefetchFar(values + i + block.length);
      const auto v = hn::LoadU(d, values + i);
      const auto doubled = hn::Add(v, v);             // without the sign
      least = hn::Min(least, hn::Sub(doubled, one));  // 0 becomes the greatest
      greatest = hn::Max(greatest, doubled);
    }
    if (i < block.length) {
      const auto v = LoadFirst(d, values + i, block.length - i);
      const auto doubled = hn::Add(v, v);
      least = hn::Min(least, hn::Sub(doubled, one));
      greatest = hn::Max(greatest, doubled);
    }
    values += block.stride;
  }
  HWY_ALIGN Bits all_least[hn::MaxLanes(d)];
  HWY_ALIGN Bits all_greatest[hn::MaxLanes(d)];
  hn::Store(least, d, all_least);
  hn::Store(greatest, d, all_greatest);
  Extremes<Bits> extremes = {static_cast<Bits>(~Bits{0}), 0};
  for (std::size_t k = 0; k < lanes; ++k) {
    extremes.least = HWY_MIN(extremes.least, all_least[k]);
    extremes.greatest = HWY_MAX(extremes.greatest, all_greatest[k]);
  }
  return extremes;
}

template <Dtype kDtype, bool kSquares>
HWY_INLINE bool IsCertified(const BitsOf<kDtype>* a, const BitsOf<kDtype>* b,
                            const Rows& block, const LaneScale<kDtype>& scale) {
  // Every f16 is within range of every other.
  if constexpr (kSquares && kDtype == Dtype::kF16) return true;
  const auto in_a = ScanBlock<kDtype>(a, block);
  if (in_a.least < scale.a_least) return false;
  if constexpr (!kSquares) {
    if (in_a.greatest >= scale.a_bound) return false;
    const auto in_b = ScanBlock<kDtype>(b, block);
    return in_b.least >= scale.b_least && in_b.greatest < scale.b_bound;
  }
  return true;
}

// Adds sum(a) and sum(a*b) of a block, or returns false and adds nothing.
// REQUIRES: the block has at most BlockRows(length) rows; a is b for squares.
template <Dtype kDtype, bool kSquares>
HWY_INLINE bool AddCertifiedBlock(const BitsOf<kDtype>* a,
                                  const BitsOf<kDtype>* b, const Rows& block,
                                  const LaneScale<kDtype>& scale,
                                  LaneTotals& totals) {
  constexpr bool kWide = Certificate<kDtype>::kWide;
  if (HWY_UNLIKELY((!IsCertified<kDtype, kSquares>(a, b, block, scale)))) {
    return false;
  }
  const DoubleTag d;
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

  const auto add0 = [&](DoubleVector va, DoubleVector vb) HWY_ATTR {
    if constexpr (kWide) {
      sum_rest0 = hn::Add(sum_rest0, TakeSlice(sum0, va));
      AddWideProduct(va, vb, top0, rest0, error0, error_rest0);
    } else {
      sum0 = hn::Add(sum0, va);
      AddExactProduct(va, vb, top0, rest0);
    }
  };
  const auto add1 = [&](DoubleVector va, DoubleVector vb) HWY_ATTR {
    if constexpr (kWide) {
      sum_rest1 = hn::Add(sum_rest1, TakeSlice(sum1, va));
      AddWideProduct(va, vb, top1, rest1, error1, error_rest1);
    } else {
      sum1 = hn::Add(sum1, va);
      AddExactProduct(va, vb, top1, rest1);
    }
  };
  for (std::size_t row = 0; row < block.rows; ++row) {
    std::size_t i = 0;
    for (; i + 2 * lanes <= block.length; i += 2 * lanes) {
      const auto a0 = LoadWide<kDtype>(a + i);
      const auto a1 = LoadWide<kDtype>(a + i + lanes);
      const auto b0 = kSquares ? a0 : LoadWide<kDtype>(b + i);
      const auto b1 = kSquares ? a1 : LoadWide<kDtype>(b + i + lanes);
      add0(a0, b0);
      add1(a1, b1);
    }
    if (const std::size_t left = block.length - i; left > 0) {
      const auto a0 = LoadWideFirst<kDtype>(a + i, left);
      const auto b0 = kSquares ? a0 : LoadWideFirst<kDtype>(b + i, left);
      add0(a0, b0);
      if (left > lanes) {
        i += lanes;
        const auto a1 = LoadWideFirst<kDtype>(a + i, left - lanes);
        add1(a1, kSquares ? a1 : LoadWideFirst<kDtype>(b + i, left - lanes));
      }
    }
    a += block.stride;
    b += block.stride;
  }
  if constexpr (kSquares) {
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
