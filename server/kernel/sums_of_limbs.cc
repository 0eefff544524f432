// Sums out of rows of doubles (sum_limbs.h). A block of channels that are
// integers at one scale is taken at once; any other channel by itself.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "server/kernel/certificate.h"
#include "server/kernel/dyadic.h"
#include "server/kernel/fast_totals.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/limb_block.h"
#include "server/kernel/limb_column.h"
#include "server/kernel/rounding.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::kernel {
namespace {

using Wide = ExactSum::Wide;
using Narrow = Certificate<Dtype::kF32>;

// What sums of doubles, and of products of two, are multiples of and below.
constexpr int kLowestOfSums = -1074;
constexpr int kEndOfSums = 1088;
constexpr int kLowestOfProducts = 2 * kLowestOfSums;
constexpr int kEndOfProducts = 2112;

std::size_t Index(std::int64_t i) { return static_cast<std::size_t>(i); }

// ---- As integers

// Parts of one batch have nearly, but not quite, the same lowest bits. At units
// that are multiples of a coarse step most have the same, and integers of equal
// units are merged without aligning; a fine step leaves more room above.
constexpr int kUnitSteps[] = {16, 8};

constexpr int Coarse(int unit, int step) { return unit & ~(step - 1); }

// The scale of these units. Empty where no integers of narrow values are:
// sums at theirs are finished as fast (channel_expansions.h), and any two can
// be merged as integers.
std::optional<TotalsScale> NarrowScale(int unit, int product_unit,
                                       SumKind kind) {
  const int below = UnitsOf(kind).unit_below_top;
  const int top = unit + below;
  const int other_top = product_unit + 2 * below - top;
  for (const int each : {top, other_top}) {
    if (each < Narrow::kLeastTop || each > Narrow::kGreatestTop) return {};
  }
  return TotalsScale{.top = static_cast<std::int16_t>(top),
                     .other_top = static_cast<std::int16_t>(other_top),
                     .kind = kind};
}

// One at which both are integers. `Limbs` is LimbBlock or LimbColumn.
template <typename Limbs>
std::optional<TotalsScale> ScaleOfSquares(const Limbs& sum,
                                          const Limbs& squares) {
  const int of_squares = squares.Lowest(0) >> 1;
  const int lowest = std::min(sum.Lowest(of_squares), of_squares);
  for (const int step : kUnitSteps) {
    const int unit = Coarse(lowest, step);
    if (!sum.Fits(unit) || !squares.Fits(2 * unit)) continue;
    return NarrowScale(unit, 2 * unit, SumKind::kNarrowSquares);
  }
  return std::nullopt;
}

template <typename Limbs>
std::optional<TotalsScale> ScaleOfProducts(const Limbs& sum,
                                           const Limbs& products) {
  for (const int step : kUnitSteps) {
    const int unit = Coarse(sum.Lowest(0), step);
    const int product_unit = Coarse(products.Lowest(2 * unit), step);
    if (!sum.Fits(unit) || !products.Fits(product_unit)) continue;
    return NarrowScale(unit, product_unit, SumKind::kNarrowProducts);
  }
  return std::nullopt;
}

// REQUIRES: the scale is of this kind.
template <SumKind kKind>
void SetIntegers(const TotalsScale& scale, Wide sum, Wide product,
                 ChannelTotals& totals) {
  const int shift = UnitsOf(kKind).top_shift;
  totals.scale = scale;
  totals.sum = sum;
  // Both halves small, so that many can be merged.
  totals.top = product >> shift;
  totals.rest = product - (totals.top << shift);
}

// Within a few units of its last place: the lower half is of either sign, so
// that they never cancel. REQUIRES: |value| < 2^120.
double Approximate(Wide value) {
  constexpr int kLowBits = 60;
  constexpr Wide kMiddle = Wide{1} << (kLowBits - 1);
  const auto high = static_cast<std::int64_t>((value + kMiddle) >> kLowBits);
  const auto low = static_cast<std::int64_t>(value - (Wide{high} << kLowBits));
  return static_cast<double>(high) * PowerOfTwoDouble(kLowBits) +
         static_cast<double>(low);
}

// ---- Whether squares are of numbers

ChannelTotals Spilled(ExactSum sum, ExactSum products) {
  ChannelTotals totals;
  totals.spill().sum = std::move(sum);
  totals.spill().products = std::move(products);
  return totals;
}

double Infinity() { return std::numeric_limits<double>::infinity(); }
double NotANumber() { return std::numeric_limits<double>::quiet_NaN(); }

// What Add makes of non-finite values: their sum, and squares that are +Inf if
// the sum is infinite, else NaN.
ChannelTotals NonFinite(const ExactSum& sum, const ExactSum& squares) {
  using Kind = ExactSum::Kind;
  const bool infinite =
      (sum.kind() == Kind::kPlusInf || sum.kind() == Kind::kMinusInf) &&
      squares.kind() != Kind::kNan && squares.kind() != Kind::kMinusInf;
  if (infinite) return Spilled(sum, ExactSum::FromNonFinite(Infinity()));
  return Spilled(ExactSum::FromNonFinite(NotANumber()),
                 ExactSum::FromNonFinite(NotANumber()));
}

// S*S/n, rounded up to 53 bits, or to a multiple of the least product.
ExactSum LeastSquares(const Dyadic& sum, std::int64_t count) {
  if (sum.is_zero()) return ExactSum();
  const Dyadic n = Dyadic::FromInteger(count);
  const Dyadic square = sum * sum;
  // The quotient near 1, in the middle of a double's range.
  const int exponent = square.FloorLog2() - n.FloorLog2();
  const Dyadic scaled = square * Dyadic::PowerOfTwo(-exponent);
  double q = RoundQuotient(scaled, n);
  if ((n * Dyadic::FromDouble(q) - scaled).is_negative()) {
    q = std::nextafter(q, Infinity());
  }
  if (exponent >= kLowestOfProducts + 53) {
    return ExactSum::FromDyadic(Dyadic::FromDouble(q) *
                                Dyadic::PowerOfTwo(exponent));
  }
  const double units = std::ceil(std::ldexp(q, exponent - kLowestOfProducts));
  return ExactSum::FromDyadic(Dyadic::FromDouble(units) *
                              Dyadic::PowerOfTwo(kLowestOfProducts));
}

// Whether n*Q >= S*S for certain, without exact arithmetic: nearly always. In
// units of the scale of squares, where that of products is that of sums, twice.
bool AreClearlyOfNumbers(std::int64_t count, Wide sum, Wide squares) {
  const double least = Approximate(sum) * Approximate(sum);
  return static_cast<double>(count) * Approximate(squares) >
             1.0000001 * least ||
         (sum == 0 && squares == 0);
}

// `totals`, or what comes nearest.
ChannelTotals OfNumbers(std::int64_t count, const LimbColumn& sum,
                        const LimbColumn& squares, ChannelTotals totals) {
  const ExactSum S = sum.Exact();
  const Dyadic Q = squares.Exact().Value();
  const Dyadic s = S.Value();
  if (!(Dyadic::FromInteger(count) * Q - s * s).is_negative()) return totals;
  return Spilled(S, LeastSquares(s, count));
}

// ---- Channels

ChannelTotals ForwardTotals(std::int64_t count, const LimbColumn& sum,
                            const LimbColumn& squares) {
  if (!sum.is_finite() || !squares.is_finite()) {
    return NonFinite(sum.Exact(), squares.Exact());
  }
  const auto scale = ScaleOfSquares(sum, squares);
  if (!scale.has_value()) {
    return OfNumbers(count, sum, squares,
                     Spilled(sum.Exact(), squares.Exact()));
  }
  const Wide S = sum.Integer(scale->sum_unit());
  const Wide Q = squares.Integer(scale->product_unit());
  ChannelTotals totals;
  SetIntegers<SumKind::kNarrowSquares>(*scale, S, Q, totals);
  if (AreClearlyOfNumbers(count, S, Q)) return totals;
  return OfNumbers(count, sum, squares, std::move(totals));
}

ChannelTotals BackwardTotals(const LimbColumn& sum_dy,
                             const LimbColumn& sum_dy_x) {
  const auto scale = ScaleOfProducts(sum_dy, sum_dy_x);
  if (!scale.has_value()) return Spilled(sum_dy.Exact(), sum_dy_x.Exact());
  ChannelTotals totals;
  SetIntegers<SumKind::kNarrowProducts>(
      *scale, sum_dy.Integer(scale->sum_unit()),
      sum_dy_x.Integer(scale->product_unit()), totals);
  return totals;
}

// What is taken, and where it goes.
struct Taking {
  Taking(std::int64_t count_of_channels, const LimbsView& s, const LimbsView& p)
      : channels(Index(count_of_channels)),
        sum(s),
        products(p),
        totals(channels) {}

  std::size_t channels;
  const LimbsView& sum;
  const LimbsView& products;
  std::vector<ChannelTotals> totals;
};

// One channel after another. False if one is refused.
class Columns {
 public:
  explicit Columns(Taking& taking) : taking_(taking) {}

  bool TakeForward(std::int64_t count, std::size_t channel) {
    if (!Read(channel)) return false;
    if (count == 0) return IsZero(sum_) && IsZero(products_);
    taking_.totals[channel] = ForwardTotals(count, sum_, products_);
    return true;
  }

  bool TakeBackward(std::size_t channel) {
    if (!Read(channel)) return false;
    taking_.totals[channel] = BackwardTotals(sum_, products_);
    return true;
  }

 private:
  bool Read(std::size_t channel) {
    sum_.Read(taking_.sum, taking_.channels, channel);
    products_.Read(taking_.products, taking_.channels, channel);
    return sum_.IsWithin(kLowestOfSums, kEndOfSums) &&
           products_.IsWithin(kLowestOfProducts, kEndOfProducts);
  }

  static bool IsZero(const LimbColumn& limbs) {
    return limbs.is_finite() && limbs.Exact().Value().is_zero();
  }

  Taking& taking_;
  LimbColumn sum_;
  LimbColumn products_;
};

// A block of channels at once.
class Block {
 public:
  Block(Taking& taking, std::size_t begin)
      : begin_(begin),
        end_(std::min(begin + kHalvesChannels, taking.channels)),
        sum_{taking.sum, taking.channels, begin_, end_},
        products_{taking.products, taking.channels, begin_, end_},
        totals_(std::span(taking.totals).subspan(begin_, end_ - begin_)) {}

  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }

  // Where are_fine(sum, products) says so of the integers at that scale.
  template <typename AreFine>
  bool TakeQuickly(const TotalsScale& scale, const AreFine& are_fine) {
    Halves sum;
    Halves products;
    return ReadQuickly(sum_, scale.sum_unit(), sum) &&
           ReadQuickly(products_, scale.product_unit(), products) &&
           Set(scale, sum, products, are_fine);
  }

  // At the scale that find_scale finds for them, if it does.
  template <typename FindScale, typename AreFine>
  std::optional<TotalsScale> Take(const FindScale& find_scale,
                                  const AreFine& are_fine) {
    const LimbBlock sums(sum_);
    const LimbBlock all_products(products_);
    const auto scale = find_scale(sums, all_products);
    if (!scale.has_value()) return std::nullopt;
    Halves sum;
    Halves products;
    sums.Read(scale->sum_unit(), sum);
    all_products.Read(scale->product_unit(), products);
    return Set(*scale, sum, products, are_fine) ? scale : std::nullopt;
  }

 private:
  template <typename AreFine>
  bool Set(const TotalsScale& scale, const Halves& sum, const Halves& products,
           const AreFine& are_fine) {
    if (!are_fine(sum, products)) return false;
    SetIntegers(scale, sum, products, totals_);
    return true;
  }

  std::size_t begin_;
  std::size_t end_;
  LimbPlace sum_;
  LimbPlace products_;
  std::span<ChannelTotals> totals_;
};

// Takes a block of channels at once where find_scale knows a scale for them and
// are_fine(sum, products) says so of their integers; else calls
// take_alone(channel) for each, and returns false when one returns false. A
// scale that did is tried on the next block: most of a batch have the same.
template <typename FindScale, typename AreFine, typename TakeAlone>
bool TakeChannels(Taking& taking, const FindScale& find_scale,
                  const AreFine& are_fine, const TakeAlone& take_alone) {
  std::optional<TotalsScale> scale;
  for (std::size_t c = 0; c < taking.channels; c += kHalvesChannels) {
    Block block(taking, c);
    if (scale.has_value() && block.TakeQuickly(*scale, are_fine)) continue;
    scale = block.Take(find_scale, are_fine);
    if (scale.has_value()) continue;
    for (std::size_t alone = block.begin(); alone < block.end(); ++alone) {
      if (!take_alone(alone)) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<ForwardSums> ForwardSumsOfLimbs(std::int64_t channels,
                                              std::int64_t count, LimbsView sum,
                                              LimbsView squares) {
  const FloatingPointScope scope;
  Taking taking(channels, sum, squares);
  Columns columns(taking);
  const bool taken = TakeChannels(
      taking, ScaleOfSquares<LimbBlock>,
      [count](const Halves& S, const Halves& Q) {
        return count > 0 && AreClearlyOfNumbers(count, S, Q);
      },
      [&](std::size_t c) { return columns.TakeForward(count, c); });
  if (!taken) return std::nullopt;
  return ForwardSums::FromTotals(count, std::move(taking.totals));
}

std::optional<BackwardSums> BackwardSumsOfLimbs(std::int64_t channels,
                                                LimbsView sum_dy,
                                                LimbsView sum_dy_x) {
  const FloatingPointScope scope;
  Taking taking(channels, sum_dy, sum_dy_x);
  Columns columns(taking);
  const bool taken = TakeChannels(
      taking, ScaleOfProducts<LimbBlock>,
      [](const Halves&, const Halves&) { return true; },
      [&](std::size_t c) { return columns.TakeBackward(c); });
  if (!taken) return std::nullopt;
  return BackwardSums::FromTotals(std::move(taking.totals));
}

}  // namespace batchnorm::kernel
