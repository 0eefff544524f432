// What one channel has summed so far: integers at the scale of a prediction,
// and beside them, exactly, whatever did not fit it.
//
//   sum(a)   = sum * 2^sum_unit + spill.sum
//   sum(a*b) = (top * 2^top_shift + rest) * 2^product_unit + spill.products
//
// Forward, a and b are x; backward, a is dy and b is x. The vector loops add to
// the integers only; adding is exact, so which values went where does not show
// in the value. One cache line, because a batch may have as many channels as
// values a channel. Thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_CHANNEL_TOTALS_H_
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_TOTALS_H_

#include <cstdint>
#include <memory>

#include "server/kernel/certificate.h"
#include "server/kernel/exact_sum.h"

namespace batchnorm::kernel {

// The scale of a channel's integers (certificate.h): the tops of a and b, and
// what kind of sums they hold.
struct TotalsScale {
  std::int16_t top = 0;
  std::int16_t other_top = 0;
  SumKind kind = SumKind::kNone;  // there are no integers yet

  int sum_unit() const { return top - KindOf().unit_below_top; }
  int product_unit() const {
    return top + other_top - 2 * KindOf().unit_below_top;
  }
  int top_shift() const { return KindOf().top_shift; }

  bool operator==(const TotalsScale&) const = default;

 private:
  const SumKindUnits& KindOf() const { return UnitsOf(kind); }
};

struct ChannelIntegers {
  using Wide = ExactSum::Wide;

  Wide sum = 0;
  Wide top = 0;
  Wide rest = 0;
};

class ChannelTotals : public ChannelIntegers {
 public:
  struct Spill {
    ExactSum sum;
    ExactSum products;
  };

  ChannelTotals() = default;
  ChannelTotals(const ChannelTotals& other);
  ChannelTotals(ChannelTotals&& other) = default;
  ChannelTotals& operator=(const ChannelTotals& other);
  ChannelTotals& operator=(ChannelTotals&& other) = default;
  ~ChannelTotals() = default;

  // Takes another scale; the integers go to the spill.
  void Rescale(const TotalsScale& next) {
    const bool has_integers = scale.kind != SumKind::kNone;
    if (has_integers && scale != next) SpillIntegers();
    scale = next;
  }

  void Merge(const ChannelTotals& part) {
    if (scale == part.scale && part.fits()) {
      Add(part.sum, part.top, part.rest);
    } else {
      MergeOther(part);
    }
  }

  // Adds to the integers, none of which is 2^126 or more in magnitude.
  void Add(Wide more_sum, Wide more_top, Wide more_rest) {
    sum += more_sum;
    top += more_top;
    rest += more_rest;
    if (IsLarge(sum) | IsLarge(top) | IsLarge(rest)) SpillIntegers();
  }

  ExactSum Sum() const;
  ExactSum Products() const;
  // The same, without a copy where all of it was spilled.
  // REQUIRES: is_finite().
  Dyadic SumValue() const;
  Dyadic ProductsValue() const;
  LeadingBits LeadingSum() const;
  LeadingBits LeadingProducts() const;
  // Whether all of it is in the integers.
  bool fits() const { return spill_ == nullptr; }
  // Neither NaN nor an infinity was added.
  bool is_finite() const {
    return fits() || (spill_->sum.is_finite() && spill_->products.is_finite());
  }

  // For what is not at this channel's scale.
  Spill& spill();

  TotalsScale scale;

 private:
  // Not within [-2^120, 2^120).
  static bool IsLarge(Wide v) {
    constexpr std::uint64_t kLarge = std::uint64_t{1} << (120 - 64);
    return static_cast<std::uint64_t>(v >> 64) + kLarge >= 2 * kLarge;
  }
  void SpillIntegers();
  bool HasSpilledSum() const { return spill_ != nullptr && sum == 0; }
  bool HasSpilledProducts() const {
    return spill_ != nullptr && top == 0 && rest == 0;
  }

  void MergeOther(const ChannelTotals& part);
  // The part's integers, at the finer of the two units if they stay small, for
  // parts of a batch that were predicted by themselves; else to the spill.
  void MergeOfOtherScale(const ChannelTotals& part);
  // To units that are not above the present ones.
  bool CanRefine(int unit, int product_unit) const;
  void Refine(int unit, int product_unit);

  std::unique_ptr<Spill> spill_;
};

static_assert(sizeof(ChannelTotals) == 64);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_TOTALS_H_
