// What certifies the columns of a strip where the processor's inexact flag does
// not: their extreme values, and the bounds that these have to keep
// (certificate.h).
#if defined(BATCHNORMD_SERVER_KERNEL_COLUMN_EXTREMES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_COLUMN_EXTREMES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_COLUMN_EXTREMES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_COLUMN_EXTREMES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/certificate.h"
#include "server/kernel/certified_block-inl.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Vectors of elements reach this far behind the last column.
inline constexpr std::size_t kScanRoom =
    hn::MaxLanes(hn::ScalableTag<std::uint16_t>());

// Entry j of everything is a column. For squares a is all there is, and how
// large it may be their sum shows.
template <Dtype kDtype, bool kSquares, std::size_t kRoom>
struct ColumnExtremes {
  using Bits = BitsOf<kDtype>;
  using C = Certificate<kDtype>;
  using P = ProductCertificate<kDtype, kSquares>;

  ColumnExtremes() {}  // NOLINT(modernize-use-equals-default): zeroes nothing

  void SetBounds(std::size_t j, const TotalsScale& scale) {
    a_needed[j] = C::DoubledLeast(scale.top);
    if constexpr (kSquares) {
      a_large[j] = C::DoubledLeast(scale.top, P::kUpperRange);
      return;
    }
    a_bound[j] = C::DoubledBound(scale.top);
    b_needed[j] = C::DoubledLeast(scale.other_top);
    b_bound[j] = C::DoubledBound(scale.other_top);
  }

  // Bounds that everything keeps, for what is behind the last column.
  void SetNoBounds(std::size_t j) {
    a_needed[j] = a_large[j] = b_needed[j] = 0;
    a_bound[j] = b_bound[j] = static_cast<Bits>(~Bits{0});
    a_greatest[j] = b_greatest[j] = 0;
  }

  // Of no values.
  void Begin(std::size_t width) {
    const std::size_t bytes = (width + kScanRoom) * sizeof(Bits);
    std::memset(a_least, 0xff, bytes);
    if constexpr (kSquares) return;
    std::memset(a_greatest, 0, bytes);
    std::memset(b_least, 0xff, bytes);
    std::memset(b_greatest, 0, bytes);
  }

  // Of these values.
  HWY_NOINLINE void Scan(const Bits* a, const Bits* b, std::int64_t row_stride,
                         std::int64_t rows, std::size_t width) {
    Begin(width);
    const ScanTag<kDtype> d;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::size_t j = 0; j < width; j += ScanLanes<kDtype>()) {
        See(LoadFirst(d, a + j, width - j), a_least + j, a_greatest + j);
        if constexpr (kSquares) continue;
        See(LoadFirst(d, b + j, width - j), b_least + j, b_greatest + j);
      }
      a += row_stride;
      b += row_stride;
    }
  }

  // Whether columns begin to end have no values that are too small.
  bool AllReach(std::size_t begin, std::size_t end) const {
    return AllReach(a_least, a_needed, begin, end) &&
           (kSquares || AllReach(b_least, b_needed, begin, end));
  }
  bool Reaches(std::size_t j) const {
    return a_least[j] >= a_needed[j] && (kSquares || b_least[j] >= b_needed[j]);
  }

  // Whether they have none that are too large. REQUIRES: !kSquares.
  bool AllStayBelow(std::size_t begin, std::size_t end) const {
    return AllStayBelow(a_greatest, a_bound, begin, end) &&
           AllStayBelow(b_greatest, b_bound, begin, end);
  }
  bool StaysBelow(std::size_t j) const {
    return a_greatest[j] < a_bound[j] && b_greatest[j] < b_bound[j];
  }

  HWY_ALIGN Bits a_least[kRoom], a_greatest[kRoom];
  HWY_ALIGN Bits b_least[kRoom], b_greatest[kRoom];
  HWY_ALIGN Bits a_needed[kRoom], a_bound[kRoom];
  HWY_ALIGN Bits a_large[kRoom];  // needed by squares in the upper slice alone
  HWY_ALIGN Bits b_needed[kRoom], b_bound[kRoom];

 private:
  static HWY_INLINE void See(hn::Vec<ScanTag<kDtype>> v, Bits* least,
                             Bits* greatest) {
    const ScanTag<kDtype> d;
    auto all_least = hn::LoadU(d, least);
    auto all_greatest = hn::LoadU(d, greatest);
    ScanVector<kDtype>(v, all_least, all_greatest);
    hn::StoreU(all_least, d, least);
    hn::StoreU(all_greatest, d, greatest);
  }

  // Whether found >= needed in these columns.
  static bool AllReach(const Bits* found, const Bits* needed, std::size_t begin,
                       std::size_t end) {
    const hn::ScalableTag<Bits> d;
    auto missing = hn::Zero(d);
    for (std::size_t j = begin; j < end; j += hn::Lanes(d)) {
      const auto short_of =
          hn::Lt(hn::Load(d, found + j), hn::Load(d, needed + j));
      missing = hn::Or(missing, hn::VecFromMask(d, short_of));
    }
    return hn::AllTrue(d, hn::Eq(missing, hn::Zero(d)));
  }

  // Whether found < bound.
  static bool AllStayBelow(const Bits* found, const Bits* bound,
                           std::size_t begin, std::size_t end) {
    const hn::ScalableTag<Bits> d;
    auto missing = hn::Zero(d);
    for (std::size_t j = begin; j < end; j += hn::Lanes(d)) {
      const auto below = hn::Lt(hn::Load(d, found + j), hn::Load(d, bound + j));
      missing = hn::Or(missing, hn::VecFromMask(d, hn::Not(below)));
    }
    return hn::AllTrue(d, hn::Eq(missing, hn::Zero(d)));
  }
};

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_COLUMN_EXTREMES_INL_H_
