#include "server/kernel/channel_totals.h"

#include <algorithm>
#include <utility>

#include "server/kernel/small_sum.h"

namespace batchnorm::kernel {
namespace {

LeadingBits LeadingOf(const SmallSum& sum) {
  return LeadingBits::OfLimbs(sum.is_negative(), sum.low(), sum.limbs());
}

}  // namespace

ChannelTotals::ChannelTotals(const ChannelTotals& other)
    : ChannelIntegers(other),
      scale(other.scale),
      spill_(other.spill_ ? std::make_unique<Spill>(*other.spill_) : nullptr) {}

ChannelTotals& ChannelTotals::operator=(const ChannelTotals& other) {
  ChannelTotals copy(other);
  return *this = std::move(copy);
}

void ChannelTotals::SpillIntegers() {
  spill().sum.AddScaled(sum, scale.sum_unit());
  spill().products.AddScaled(top, scale.product_unit() + scale.top_shift());
  spill().products.AddScaled(rest, scale.product_unit());
  sum = top = rest = 0;
}

void ChannelTotals::MergeOther(const ChannelTotals& part) {
  if (part.scale.kind != SumKind::kNone) {
    if (scale.kind == SumKind::kNone) scale = part.scale;
    if (scale == part.scale) {
      Add(part.sum, part.top, part.rest);
    } else {
      MergeOfOtherScale(part);
    }
  }
  if (!part.spill_) return;
  spill().sum.Merge(part.spill_->sum);
  spill().products.Merge(part.spill_->products);
}

void ChannelTotals::MergeOfOtherScale(const ChannelTotals& part) {
  const int unit = std::min(scale.sum_unit(), part.scale.sum_unit());
  const int product_unit =
      std::min(scale.product_unit(), part.scale.product_unit());
  if (scale.kind == part.scale.kind && CanRefine(unit, product_unit) &&
      part.CanRefine(unit, product_unit)) {
    Refine(unit, product_unit);
    const int shift = part.scale.sum_unit() - unit;
    const int product_shift = part.scale.product_unit() - product_unit;
    Add(part.sum << shift, part.top << product_shift,
        part.rest << product_shift);
  } else {
    ChannelTotals other = part;
    other.spill_ = nullptr;  // merged by the caller
    other.Rescale({});
    Merge(other);
  }
}

bool ChannelTotals::CanRefine(int unit, int product_unit) const {
  constexpr int kRoom = 120;
  const auto fits = [](Wide value, int shift) {
    const Wide magnitude = value < 0 ? -value : value;
    return shift < kRoom && magnitude >> (kRoom - shift) == 0;
  };
  const int product_shift = scale.product_unit() - product_unit;
  return fits(sum, scale.sum_unit() - unit) && fits(top, product_shift) &&
         fits(rest, product_shift);
}

void ChannelTotals::Refine(int unit, int product_unit) {
  sum <<= scale.sum_unit() - unit;
  top <<= scale.product_unit() - product_unit;
  rest <<= scale.product_unit() - product_unit;
  const int both =
      scale.top + scale.other_top + product_unit - scale.product_unit();
  scale.top = static_cast<std::int16_t>(scale.top + unit - scale.sum_unit());
  scale.other_top = static_cast<std::int16_t>(both - scale.top);
}

ExactSum ChannelTotals::Sum() const {
  ExactSum total;
  if (spill_) total = spill_->sum;
  total.AddScaled(sum, scale.sum_unit());
  return total;
}

ExactSum ChannelTotals::Products() const {
  ExactSum total;
  if (spill_) total = spill_->products;
  total.AddScaled(top, scale.product_unit() + scale.top_shift());
  total.AddScaled(rest, scale.product_unit());
  return total;
}

Dyadic ChannelTotals::SumValue() const {
  return HasSpilledSum() ? spill_->sum.Value() : Sum().Value();
}

Dyadic ChannelTotals::ProductsValue() const {
  return HasSpilledProducts() ? spill_->products.Value() : Products().Value();
}

LeadingBits ChannelTotals::LeadingSum() const {
  if (fits()) return LeadingOf(SmallSum(sum, 0, 0, scale.sum_unit()));
  return HasSpilledSum() ? spill_->sum.Leading() : Sum().Leading();
}

LeadingBits ChannelTotals::LeadingProducts() const {
  if (fits()) {
    return LeadingOf(
        SmallSum(rest, top, scale.top_shift(), scale.product_unit()));
  }
  return HasSpilledProducts() ? spill_->products.Leading()
                              : Products().Leading();
}

ChannelTotals::Spill& ChannelTotals::spill() {
  if (!spill_) spill_ = std::make_unique<Spill>();
  return *spill_;
}

}  // namespace batchnorm::kernel
