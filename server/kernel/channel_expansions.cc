#include "server/kernel/channel_expansions.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <span>

#include "server/kernel/dyadic.h"
#include "server/kernel/fast_totals.h"
#include "server/kernel/moments.h"

namespace batchnorm::kernel {
namespace {

constexpr int kLimbBits = 53;
constexpr int kProductBits = 3 * kLimbBits;
constexpr int kMaxUnitExponent = 300;     // of unit and dy_unit
constexpr int kMaxProductExponent = 600;  // of product_unit
constexpr int kMaxValueExponent = 199;    // of a value in its unit

template <std::size_t size>
using Limbs = std::array<std::vector<double>, size>;

void ResetVector(std::vector<double>& vector, std::size_t channels) {
  const std::size_t groups = (channels + kChannelPadding - 1) / kChannelPadding;
  vector.assign(groups * kChannelPadding, 0.0);
}

template <std::size_t size>
void ResetLimbs(Limbs<size>& limbs, std::size_t channels) {
  for (auto& vector : limbs) ResetVector(vector, channels);
}

template <std::size_t size>
std::array<double*, size> RowsOf(Limbs<size>& limbs) {
  std::array<double*, size> rows;
  for (std::size_t i = 0; i < size; ++i) rows[i] = limbs[i].data();
  return rows;
}

// The greatest e such that the value is a multiple of 2^e; 0 has `otherwise`.
int LowestBit(const Dyadic& value, int otherwise) {
  if (value.is_zero()) return otherwise;
  return 64 * value.low() + std::countr_zero(value.limbs().front());
}

// The 53 bits from that of weight 2^from on, as an integer.
double BitsFrom(const Dyadic& value, int from) {
  const auto limb = [&](int index) {
    const auto i = static_cast<std::size_t>(index - value.low());
    return i < value.limbs().size() ? value.limbs()[i] : 0;
  };
  const int shift = from & 63;
  std::uint64_t bits = limb(from >> 6) >> shift;
  if (shift != 0) bits |= limb((from >> 6) + 1) << (64 - shift);
  return static_cast<double>(bits & ((std::uint64_t{1} << kLimbBits) - 1));
}

bool Fits(const Dyadic& value, int exponent, std::size_t limbs) {
  if (value.is_zero()) return true;
  const int highest = value.FloorLog2();
  const int lowest = LowestBit(value, 0);
  return lowest >= exponent && highest - exponent <= kMaxValueExponent &&
         highest - lowest < kLimbBits * static_cast<int>(limbs);
}

// Cuts the value, in units of 2^exponent, into limbs: the greatest first.
// REQUIRES: it fits.
template <std::size_t size>
void Store(const Dyadic& value, int exponent, std::size_t entry,
           Limbs<size>& limbs) {
  for (auto& limb : limbs) limb[entry] = 0;
  if (value.is_zero()) return;
  int from = value.FloorLog2() + 1;
  for (auto& limb : limbs) {
    from -= kLimbBits;
    const double magnitude = std::ldexp(BitsFrom(value, from), from - exponent);
    limb[entry] = value.is_negative() ? -magnitude : magnitude;
  }
}

// Cuts an integer into limbs, the last of which takes all that is left: false
// if that is too much for a double.
template <std::size_t size>
bool StoreInteger(ChannelTotals::Wide value, std::size_t entry,
                  Limbs<size>& limbs) {
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

// The quick way, for integers of narrow values: true if these are all there is.
template <std::size_t size>
bool ExpandIntegers(const ChannelTotals& totals, std::size_t entry,
                    Limbs<2>& sum, Limbs<size>& products) {
  constexpr ChannelTotals::Wide kTopRoom = ChannelTotals::Wide{1} << 80;
  const bool narrow = totals.scale.kind == SumKind::kNarrowSquares ||
                      totals.scale.kind == SumKind::kNarrowProducts;
  if (!totals.fits() || !narrow || totals.top >= kTopRoom ||
      totals.top <= -kTopRoom) {
    return false;
  }
  const ChannelTotals::Wide weight = ChannelTotals::Wide{1}
                                     << totals.scale.top_shift();
  return StoreInteger(totals.sum, entry, sum) &&
         StoreInteger(totals.top * weight + totals.rest, entry, products);
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

void ExpandChannel(const ForwardSums& sums, std::size_t channel,
                   std::size_t entry, ForwardExpansions& to) {
  const auto c = static_cast<std::int64_t>(channel);
  const ChannelTotals& totals = sums.totals(c);
  if (ExpandIntegers(totals, entry, to.sum, to.squares)) {
    to.unit[entry] = PowerOfTwoDouble(totals.scale.sum_unit());
    return;
  }
  if (!IsFinite(sums, c)) return;
  if (totals.ProductsSeemLongerThan(kProductBits)) return;
  const Dyadic S = totals.SumValue();
  const Dyadic Q = totals.ProductsValue();
  const int of_squares = LowestBit(Q, 0) >> 1;
  const int exponent = std::min(of_squares, LowestBit(S, of_squares));
  if (std::abs(exponent) > kMaxUnitExponent || !Fits(S, exponent, 2) ||
      !Fits(Q, 2 * exponent, 3)) {
    return;
  }
  Store(S, exponent, entry, to.sum);
  Store(Q, 2 * exponent, entry, to.squares);
  to.unit[entry] = std::ldexp(1.0, exponent);
}

void ExpandChannel(const BackwardSums& sums, std::size_t channel,
                   std::size_t entry, BackwardExpansions& to) {
  const auto c = static_cast<std::int64_t>(channel);
  const ChannelTotals& totals = sums.totals(c);
  if (ExpandIntegers(totals, entry, to.sum_dy, to.sum_dy_x)) {
    to.dy_unit[entry] = PowerOfTwoDouble(totals.scale.sum_unit());
    to.product_unit[entry] = PowerOfTwoDouble(totals.scale.product_unit());
    return;
  }
  if (!totals.is_finite()) return;
  if (totals.ProductsSeemLongerThan(kProductBits)) return;
  const Dyadic D = totals.SumValue();
  const Dyadic P = totals.ProductsValue();
  const int of_dy = LowestBit(D, 0);
  const int of_products = LowestBit(P, 0);
  if (std::abs(of_dy) > kMaxUnitExponent ||
      std::abs(of_products) > kMaxProductExponent || !Fits(D, of_dy, 2) ||
      !Fits(P, of_products, 3)) {
    return;
  }
  Store(D, of_dy, entry, to.sum_dy);
  Store(P, of_products, entry, to.sum_dy_x);
  to.dy_unit[entry] = std::ldexp(1.0, of_dy);
  to.product_unit[entry] = std::ldexp(1.0, of_products);
}

// The quick way of a whole block, but for units; false if some channels do not
// fit it.
bool CutTogether(SumKind kind, std::span<const ChannelTotals> totals,
                 Limbs<2>& sum, Limbs<3>& products) {
  return AreNarrowIntegers(totals, kind) &&
         CutIntegers(kind, totals, RowsOf(sum), RowsOf(products));
}

bool ExpandTogether(std::span<const ChannelTotals> totals,
                    ForwardExpansions& to) {
  if (!CutTogether(SumKind::kNarrowSquares, totals, to.sum, to.squares)) {
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
  if (!CutTogether(SumKind::kNarrowProducts, totals, to.sum_dy, to.sum_dy_x)) {
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

void ForwardExpansions::Reset(std::size_t channels) {
  ResetLimbs(sum, channels);
  ResetLimbs(squares, channels);
  ResetVector(unit, channels);
}

void BackwardExpansions::Reset(std::size_t channels) {
  ResetLimbs(sum_dy, channels);
  ResetLimbs(sum_dy_x, channels);
  ResetVector(dy_unit, channels);
  ResetVector(product_unit, channels);
}

void Expand(const ForwardSums& sums, ChannelRange range,
            ForwardExpansions& expansions) {
  expansions.Reset(range.size());
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
  expansions.Reset(range.size());
  if (ExpandTogether(sums.totals(range.first, range.size()), expansions)) {
    return;
  }
  for (std::size_t c = range.first; c < range.end; ++c) {
    ExpandChannel(sums, c, c - range.first, expansions);
  }
}

}  // namespace batchnorm::kernel
