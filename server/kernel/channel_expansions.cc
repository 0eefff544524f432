#include "server/kernel/channel_expansions.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <span>

#include "server/kernel/certificate.h"
#include "server/kernel/fast_totals.h"
#include "server/kernel/leading_bits.h"

namespace batchnorm::kernel {
namespace {

constexpr int kMaxUnitExponent = 300;     // of unit and dy_unit
constexpr int kMaxProductExponent = 600;  // of product_unit
constexpr int kMaxValueExponent = 199;    // of a value in its unit
constexpr int kLeastSumExponent = -100;   // of S in its unit

void Store(const LeadingBits& value, int unit, std::size_t entry,
           ChannelLimbs& limbs) {
  for (std::size_t i = 0; i < limbs.size(); ++i) {
    limbs[i][entry] = value.Limb(i, unit);
  }
}

// What the rest is less than, in units of 2^unit.
double RestOf(const LeadingBits& value, int unit) {
  return value.is_all ? 0 : PowerOfTwoDouble(value.exponent - unit);
}

// Cuts an integer into `size` limbs, the last of which takes all that is left:
// false if that is too much for a double.
bool StoreInteger(ChannelTotals::Wide value, std::size_t size,
                  std::size_t entry, ChannelLimbs& limbs) {
  constexpr int kBits = 52;
  double weight = 1;
  for (std::size_t i = 0; i + 1 < size; ++i) {
    const auto low = static_cast<std::int64_t>(value) & ((1LL << kBits) - 1);
    limbs[i][entry] = static_cast<double>(low) * weight;
    weight *= 0x1p52;
    value >>= kBits;
  }
  const auto last = static_cast<std::int64_t>(value);
  limbs[size - 1][entry] = static_cast<double>(last) * weight;
  return last == value && std::abs(last) < 1LL << 53;
}

void Clear(std::size_t entry, ChannelLimbs& limbs) {
  for (ChannelRow& row : limbs) row[entry] = 0;
}

// The quick way, for integers of narrow values: true if these are all there is.
bool ExpandIntegers(const ChannelTotals& totals, std::size_t entry,
                    ChannelLimbs& sum, ChannelLimbs& products) {
  constexpr ChannelTotals::Wide kTopRoom = ChannelTotals::Wide{1} << 80;
  const bool narrow = totals.scale.kind == SumKind::kNarrowSquares ||
                      totals.scale.kind == SumKind::kNarrowProducts;
  if (!totals.fits() || !narrow || totals.top >= kTopRoom ||
      totals.top <= -kTopRoom) {
    return false;
  }
  const ChannelTotals::Wide weight = ChannelTotals::Wide{1}
                                     << totals.scale.top_shift();
  Clear(entry, sum);
  Clear(entry, products);
  return StoreInteger(totals.sum, 2, entry, sum) &&
         StoreInteger(totals.top * weight + totals.rest, 3, entry, products);
}

// Whether all that the channels have are integers of narrow values, of one
// kind.
bool AreNarrowIntegers(std::span<const ChannelTotals> totals, SumKind kind) {
  bool all = true;
  for (const ChannelTotals& each : totals) {
    all &= each.fits() & (each.scale.kind == kind);
  }
  return all;
}

// The least exponent in whose units^2 the squares are not too large. There they
// are integers, and |S| <= sqrt(n*Q) is smaller than they are.
int UnitBelow(const LeadingBits& squares) {
  if (squares.is_zero()) return 0;
  const int highest = squares.exponent + LeadingBits::kBits - 1;
  return (highest - kMaxValueExponent + 1) >> 1;
}

void ExpandChannel(const ForwardSums& sums, std::size_t channel,
                   std::size_t entry, ForwardExpansions& to) {
  const auto c = static_cast<std::int64_t>(channel);
  to.unit[entry] = 0;
  to.rest_of_squares[entry] = 0;
  const ChannelTotals& totals = sums.totals(c);
  if (ExpandIntegers(totals, entry, to.sum, to.squares)) {
    to.unit[entry] = PowerOfTwoDouble(totals.scale.sum_unit());
    return;
  }
  if (!totals.is_finite()) return;
  const LeadingBits S = totals.LeadingSum();
  const LeadingBits Q = totals.LeadingProducts();
  const int unit = UnitBelow(Q);
  if (std::abs(unit) > kMaxUnitExponent || !S.is_all ||
      (!S.is_zero() && S.LowestBit() < unit + kLeastSumExponent)) {
    return;
  }
  Store(S, unit, entry, to.sum);
  Store(Q, 2 * unit, entry, to.squares);
  to.rest_of_squares[entry] = RestOf(Q, 2 * unit);
  to.unit[entry] = PowerOfTwoDouble(unit);
}

void ExpandChannel(const BackwardSums& sums, std::size_t channel,
                   std::size_t entry, BackwardExpansions& to) {
  const auto c = static_cast<std::int64_t>(channel);
  to.dy_unit[entry] = to.product_unit[entry] = 0;
  to.rest_of_sum_dy_x[entry] = 0;
  const ChannelTotals& totals = sums.totals(c);
  if (ExpandIntegers(totals, entry, to.sum_dy, to.sum_dy_x)) {
    to.dy_unit[entry] = PowerOfTwoDouble(totals.scale.sum_unit());
    to.product_unit[entry] = PowerOfTwoDouble(totals.scale.product_unit());
    return;
  }
  if (!totals.is_finite()) return;
  const LeadingBits D = totals.LeadingSum();
  const LeadingBits P = totals.LeadingProducts();
  const int dy_unit = D.is_zero() ? 0 : D.LowestBit();
  const int product_unit = P.is_zero() ? 0 : P.LowestBit();
  if (std::abs(dy_unit) > kMaxUnitExponent ||
      std::abs(product_unit) > kMaxProductExponent || !D.is_all) {
    return;
  }
  Store(D, dy_unit, entry, to.sum_dy);
  Store(P, product_unit, entry, to.sum_dy_x);
  to.rest_of_sum_dy_x[entry] = RestOf(P, product_unit);
  to.dy_unit[entry] = PowerOfTwoDouble(dy_unit);
  to.product_unit[entry] = PowerOfTwoDouble(product_unit);
}

void ClearAll(std::size_t channels, ChannelRow& row) {
  constexpr std::size_t kStep = kChannelPadding;
  std::fill_n(row.data(), (channels + kStep - 1) / kStep * kStep, 0.0);
}

// The quick way of a whole block, but for units; false if some channels do not
// fit it.
bool CutTogether(SumKind kind, std::span<const ChannelTotals> totals,
                 ChannelLimbs& sum, ChannelLimbs& products, ChannelRow& rest) {
  if (!AreNarrowIntegers(totals, kind)) return false;
  ClearAll(totals.size(), sum[2]);
  ClearAll(totals.size(), rest);
  return CutIntegers(
      kind, totals, {sum[0].data(), sum[1].data()},
      {products[0].data(), products[1].data(), products[2].data()});
}

bool ExpandTogether(std::span<const ChannelTotals> totals,
                    ForwardExpansions& to) {
  if (!CutTogether(SumKind::kNarrowSquares, totals, to.sum, to.squares,
                   to.rest_of_squares)) {
    return false;
  }
  const int below = UnitsOf(SumKind::kNarrowSquares).unit_below_top;
  double* const units = to.unit.data();
  for (std::size_t i = 0; i < totals.size(); ++i) {
    units[i] = PowerOfTwoDouble(totals[i].scale.top - below);
  }
  return true;
}

bool ExpandTogether(std::span<const ChannelTotals> totals,
                    BackwardExpansions& to) {
  if (!CutTogether(SumKind::kNarrowProducts, totals, to.sum_dy, to.sum_dy_x,
                   to.rest_of_sum_dy_x)) {
    return false;
  }
  const int below = UnitsOf(SumKind::kNarrowProducts).unit_below_top;
  double* const dy_units = to.dy_unit.data();
  double* const product_units = to.product_unit.data();
  for (std::size_t i = 0; i < totals.size(); ++i) {
    const TotalsScale& scale = totals[i].scale;
    dy_units[i] = PowerOfTwoDouble(scale.top - below);
    product_units[i] =
        PowerOfTwoDouble(scale.top + scale.other_top - 2 * below);
  }
  return true;
}

}  // namespace

void Expand(const ForwardSums& sums, ChannelRange range,
            ForwardExpansions& expansions) {
  assert(range.size() <= kExpandedChannels);
  const auto count = [&](std::size_t channel) {
    return sums.count(static_cast<std::int64_t>(channel));
  };
  expansions.count = range.size() == 0 ? 0 : count(range.first);
  if (ExpandTogether(sums.totals(range.first, range.size()), expansions)) {
    return;
  }
  for (std::size_t c = range.first; c < range.end; ++c) {
    assert(count(c) == expansions.count);
    ExpandChannel(sums, c, c - range.first, expansions);
  }
}

void Expand(const BackwardSums& sums, ChannelRange range,
            BackwardExpansions& expansions) {
  assert(range.size() <= kExpandedChannels);
  if (ExpandTogether(sums.totals(range.first, range.size()), expansions)) {
    return;
  }
  for (std::size_t c = range.first; c < range.end; ++c) {
    ExpandChannel(sums, c, c - range.first, expansions);
  }
}

}  // namespace batchnorm::kernel
