// What certifies the columns of a strip where the underflow flag does: their
// units, and what the squares of their values add up to (unit_probe-inl.h).
#if defined(BATCHNORMD_SERVER_KERNEL_COLUMN_PROBES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_COLUMN_PROBES_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_COLUMN_PROBES_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_COLUMN_PROBES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstring>

#include "server/kernel/certificate.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/unit_probe-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// Entry j of everything is a column. Squares of a are not added where they are
// what is summed.
template <bool kSquares, std::size_t kRoom>
struct ColumnProbes {
  ColumnProbes() {}  // NOLINT(modernize-use-equals-default): zeroes nothing

  // Returns whether there are probes for the scale.
  bool SetScale(std::size_t j, const TotalsScale& scale) {
    const bool exist = ProbeScale::Exists(scale.top) &&
                       (kSquares || ProbeScale::Exists(scale.other_top));
    a.Set(j, exist ? ProbeScale::Of(scale.top) : kNone);
    if constexpr (!kSquares) {
      b.Set(j, exist ? ProbeScale::Of(scale.other_top) : kNone);
    }
    return exist;
  }

  // For what is behind the last column.
  void SetNone(std::size_t j) {
    a.Set(j, kNone);
    b.Set(j, kNone);
  }

  // Of no values.
  void Begin(std::size_t width) {
    if constexpr (kSquares) return;
    const std::size_t bytes = width * sizeof(float);
    std::memcpy(a.squares, a.start, bytes);
    std::memcpy(b.squares, b.start, bytes);
  }

  // Whether no squares of columns begin to end are too large. REQUIRES:
  // !kSquares.
  bool AllStayBelow(std::size_t begin, std::size_t end) const {
    return a.AllStayBelow(begin, end) && b.AllStayBelow(begin, end);
  }
  bool StaysBelow(std::size_t j) const {
    return a.squares[j] < a.bound[j] && b.squares[j] < b.bound[j];
  }

  struct Probes {
    void Set(std::size_t j, const ProbeScale& scale) {
      factor[j] = scale.factor;
      start[j] = scale.squares;
      bound[j] = scale.squares_bound;
    }

    bool AllStayBelow(std::size_t begin, std::size_t end) const {
      const ProbeTag d;
      auto above = hn::Zero(d);
      for (std::size_t j = begin; j < end; j += hn::Lanes(d)) {
        const auto is_below =
            hn::Lt(hn::Load(d, squares + j), hn::Load(d, bound + j));
        const auto counts = hn::FirstN(d, end - j);
        above = hn::Or(above, hn::IfThenElseZero(hn::AndNot(is_below, counts),
                                                 hn::Set(d, 1.0F)));
      }
      return hn::AllTrue(d, hn::Eq(above, hn::Zero(d)));
    }

    HWY_ALIGN float factor[kRoom], start[kRoom], bound[kRoom], squares[kRoom];
  };
  Probes a, b;

 private:
  // Raises no flag, whatever the values are: times 0, and added to 1.
  static constexpr ProbeScale kNone = {0, 1, 0};
};

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_COLUMN_PROBES_INL_H_
