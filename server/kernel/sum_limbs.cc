#include "server/kernel/sum_limbs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "server/kernel/certificate.h"
#include "server/kernel/decoded_double.h"
#include "server/kernel/dyadic.h"
#include "server/kernel/rounding.h"
#include "server/kernel/small_sum.h"

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

// ---- In: limbs of one channel

// A finite limb that is not 0: an odd integer times a power of two.
struct Limb {
  std::int64_t odd;
  int exponent;
};

// All limbs of one channel.
class Column {
 public:
  void Read(LimbsView rows, std::size_t channels, std::size_t channel) {
    size_ = 0;
    lowest_ = kNone;
    highest_ = -kNone;
    is_finite_ = true;
    for (std::size_t i = 0; i < rows.scales.size(); ++i) {
      Add(rows.limbs[i * channels + channel], rows.scales[i]);
    }
  }

  bool is_finite() const { return is_finite_; }
  bool is_zero() const { return size_ == 0; }
  // The greatest e of which all limbs are multiples of 2^e; `otherwise` if
  // there are none.
  int Lowest(int otherwise) const { return is_zero() ? otherwise : lowest_; }
  // All limbs together are below 2^this.
  int Bound() const { return highest_ + kLimbsBits; }

  bool IsWithin(int lowest, int end) const {
    return is_zero() || (lowest_ >= lowest && Bound() <= end);
  }

  // In units of 2^unit. REQUIRES: is_finite(), unit <= Lowest(unit), and
  // Bound() - unit < 127.
  Wide Integer(int unit) const {
    Wide total = 0;
    for (const Limb& limb : limbs()) {
      total += Wide{limb.odd} << (limb.exponent - unit);
    }
    return total;
  }

  ExactSum Exact() const {
    ExactSum sum;
    for (const Limb& limb : limbs()) sum.AddScaled(limb.odd, limb.exponent);
    if (!is_finite_) sum.Merge(ExactSum::FromNonFinite(non_finite_));
    return sum;
  }

 private:
  static constexpr int kNone = 1 << 20;
  static constexpr int kLimbsBits = 7;  // of the number of limbs
  static_assert(kMaxLimbs <= 1 << kLimbsBits);

  std::span<const Limb> limbs() const { return {limbs_.data(), size_}; }

  void Add(double value, std::int32_t scale) {
    if (!IsFiniteDouble(value)) {
      non_finite_ = is_finite_ ? value : non_finite_ + value;
      is_finite_ = false;
      return;
    }
    const DecodedDouble decoded = Decode(value);
    if (decoded.magnitude == 0) return;
    const int zeros = std::countr_zero(decoded.magnitude);
    const auto odd = static_cast<std::int64_t>(decoded.magnitude >> zeros);
    const int exponent = decoded.exponent + zeros + scale;
    limbs_[size_++] = {decoded.negative ? -odd : odd, exponent};
    lowest_ = std::min(lowest_, exponent);
    highest_ = std::max(highest_, decoded.exponent + scale + 64 -
                                      std::countl_zero(decoded.magnitude));
  }

  std::array<Limb, kMaxLimbs> limbs_;
  std::size_t size_ = 0;
  int lowest_ = kNone;
  int highest_ = -kNone;
  bool is_finite_ = true;
  double non_finite_ = 0;
};

// ---- Their sums

// Those at which integers of narrow values are, so that what is finished from
// them is finished as fast (channel_expansions.h), and any two can be merged as
// integers.
bool IsNarrowTop(int top) {
  return Narrow::kLeastTop <= top && top <= Narrow::kGreatestTop;
}

// A unit below that few ranks differ in: parts of one batch have nearly, but
// not quite, the same lowest bits, and equal units need no aligning.
int CoarseUnit(int unit) {
  constexpr int kStep = 8;
  return unit & ~(kStep - 1);
}

// As integers at these units, if they are small enough.
bool TakeIntegers(const Column& sum, int unit, const Column& products,
                  int product_unit, SumKind kind, ChannelTotals& totals) {
  constexpr int kRoom = 118;  // bits
  const int below = UnitsOf(kind).unit_below_top;
  const int top = unit + below;
  const int other_top = product_unit + 2 * below - top;
  if (!sum.is_finite() || !products.is_finite() || !IsNarrowTop(top) ||
      !IsNarrowTop(other_top) || sum.Bound() - unit > kRoom ||
      products.Bound() - product_unit > kRoom) {
    return false;
  }
  totals.scale = {.top = static_cast<std::int16_t>(top),
                  .other_top = static_cast<std::int16_t>(other_top),
                  .kind = kind};
  totals.sum = sum.Integer(unit);
  // Both halves small, so that many can be merged.
  const Wide product = products.Integer(product_unit);
  totals.top = product >> totals.scale.top_shift();
  totals.rest = product - (totals.top << totals.scale.top_shift());
  return true;
}

// In product units, rounded.
double ProductsIn(const ChannelTotals& totals) {
  return static_cast<double>(totals.top) *
             PowerOfTwoDouble(totals.scale.top_shift()) +
         static_cast<double>(totals.rest);
}

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

// Whether n*Q >= S*S for certain, without exact arithmetic: nearly always.
bool IsClearlyOfNumbers(double count, double sum, double squares) {
  return count * squares > 1.0000001 * (sum * sum) && count * squares < 1e300 &&
         count * squares > 1e-280;
}

ChannelTotals OfNumbers(std::int64_t count, const Column& sum,
                        const Column& squares, ChannelTotals totals) {
  const ExactSum S = sum.Exact();
  const Dyadic Q = squares.Exact().Value();
  const Dyadic s = S.Value();
  if (!(Dyadic::FromInteger(count) * Q - s * s).is_negative()) return totals;
  return Spilled(S, LeastSquares(s, count));
}

ChannelTotals ForwardTotals(std::int64_t count, const Column& sum,
                            const Column& squares) {
  if (!sum.is_finite() || !squares.is_finite()) {
    return NonFinite(sum.Exact(), squares.Exact());
  }
  const int of_squares = squares.Lowest(0) >> 1;
  const int unit = CoarseUnit(std::min(sum.Lowest(of_squares), of_squares));
  ChannelTotals totals;
  if (TakeIntegers(sum, unit, squares, 2 * unit, SumKind::kNarrowSquares,
                   totals)) {
    const double scale = PowerOfTwoDouble(unit);
    if (IsClearlyOfNumbers(static_cast<double>(count),
                           static_cast<double>(totals.sum) * scale,
                           ProductsIn(totals) * scale * scale)) {
      return totals;
    }
  } else {
    totals = Spilled(sum.Exact(), squares.Exact());
  }
  return OfNumbers(count, sum, squares, std::move(totals));
}

ChannelTotals BackwardTotals(const Column& sum_dy, const Column& sum_dy_x) {
  ChannelTotals totals;
  const int unit = CoarseUnit(sum_dy.Lowest(0));
  if (TakeIntegers(sum_dy, unit, sum_dy_x,
                   CoarseUnit(sum_dy_x.Lowest(2 * unit)),
                   SumKind::kNarrowProducts, totals)) {
    return totals;
  }
  return Spilled(sum_dy.Exact(), sum_dy_x.Exact());
}

// ---- Out

constexpr int kPieceBits = 53;

// How values are cut into pieces: from the top, which takes the fewest rows, or
// at multiples of kPieceBits, so that all pieces of a row have one scale, where
// some would leave the range of a double.
enum class Cut : std::uint8_t { kFromTop, kAtMultiples };

// The rows that are needed so far.
class Rows {
 public:
  Rows(std::size_t channels, Cut cut) : channels_(channels), cut_(cut) {
    rows_[0].resize(channels);
  }

  Cut cut() const { return cut_; }
  // With kFromTop: a piece did not fit.
  bool is_out_of_range() const { return is_out_of_range_; }

  // REQUIRES: bits < 2^53.
  void Add(std::size_t channel, int piece, double bits, int exponent) {
    const int scale = ScaleOf(piece);
    is_out_of_range_ |= scale == 0 && std::abs(exponent) > kRange;
    Row(piece)[channel] = std::ldexp(bits, exponent - scale);
  }

  void AddNonFinite(std::size_t channel, double value) {
    Row(0)[channel] = value;
  }

  SumLimbs Take() {
    SumLimbs limbs;
    for (auto& [piece, row] : rows_) {
      limbs.scales.push_back(ScaleOf(piece));
      limbs.limbs.insert(limbs.limbs.end(), row.begin(), row.end());
    }
    return limbs;
  }

 private:
  static constexpr int kRange = 900;

  int ScaleOf(int piece) const {
    const int exponent = cut_ == Cut::kFromTop ? 0 : piece * kPieceBits;
    if (std::abs(exponent) <= kRange - kPieceBits) return 0;
    return exponent < 0 ? -kMaxLimbScale : kMaxLimbScale;
  }

  std::vector<double>& Row(int piece) {
    std::vector<double>& row = rows_[piece];
    if (row.empty()) row.resize(channels_);
    return row;
  }

  std::size_t channels_;
  Cut cut_;
  bool is_out_of_range_ = false;
  std::map<int, std::vector<double>> rows_;
};

constexpr int FloorDivide(int a, int b) { return a / b - (a % b < 0 ? 1 : 0); }

// `Number` is Dyadic or SmallSum.
template <typename Number>
void AddPieces(const Number& value, std::size_t channel, Rows& rows) {
  const auto& limbs = value.limbs();
  if (limbs.empty()) return;
  const auto limb_at = [&](int index) {
    const auto i = static_cast<std::size_t>(index - value.low());
    return i < limbs.size() ? limbs[i] : 0;
  };
  const bool from_top = rows.cut() == Cut::kFromTop;
  const int lowest = 64 * value.low() + std::countr_zero(limbs.front());
  int end = 64 * (value.low() + static_cast<int>(limbs.size())) -
            std::countl_zero(limbs.back());
  for (int piece = 0; end > lowest; ++piece) {
    const int position = FloorDivide(end - 1, kPieceBits);
    const int from =
        std::max(from_top ? end - kPieceBits : position * kPieceBits, lowest);
    const int shift = from & 63;
    std::uint64_t bits = limb_at(from >> 6) >> shift;
    if (shift != 0) bits |= limb_at((from >> 6) + 1) << (64 - shift);
    bits &= (std::uint64_t{1} << (end - from)) - 1;
    const auto magnitude = static_cast<double>(bits);
    rows.Add(channel, from_top ? piece : position,
             value.is_negative() ? -magnitude : magnitude, from);
    end = from;
  }
}

void AddSum(const ExactSum& sum, std::size_t channel, Rows& rows) {
  if (sum.is_finite()) return AddPieces(sum.Value(), channel, rows);
  rows.AddNonFinite(channel, sum.ToDouble());
}

// Calls add(channel, rows) for all channels.
template <typename Add>
SumLimbs LimbsOfChannels(std::int64_t channels, const Add& add) {
  for (const Cut cut : {Cut::kFromTop, Cut::kAtMultiples}) {
    Rows rows(Index(channels), cut);
    for (std::int64_t c = 0; c < channels; ++c) add(c, rows);
    if (!rows.is_out_of_range() || cut == Cut::kAtMultiples) return rows.Take();
  }
  return {};
}

template <typename Sums>
SumLimbs LimbsOfSums(const Sums& sums) {
  return LimbsOfChannels(sums.channels(), [&](std::int64_t c, Rows& rows) {
    const ChannelTotals& totals = sums.totals(c);
    if (!totals.fits()) return AddSum(totals.Sum(), Index(c), rows);
    AddPieces(SmallSum(totals.sum, 0, 0, totals.scale.sum_unit()), Index(c),
              rows);
  });
}

template <typename Sums>
SumLimbs LimbsOfProducts(const Sums& sums) {
  return LimbsOfChannels(sums.channels(), [&](std::int64_t c, Rows& rows) {
    const ChannelTotals& totals = sums.totals(c);
    if (!totals.fits()) return AddSum(totals.Products(), Index(c), rows);
    AddPieces(SmallSum(totals.rest, totals.top, totals.scale.top_shift(),
                       totals.scale.product_unit()),
              Index(c), rows);
  });
}

}  // namespace

std::optional<ForwardSums> ForwardSumsOfLimbs(std::int64_t channels,
                                              std::int64_t count, LimbsView sum,
                                              LimbsView squares) {
  std::vector<ChannelTotals> totals;
  totals.reserve(Index(channels));
  Column of_sum;
  Column of_squares;
  for (std::size_t c = 0; c < Index(channels); ++c) {
    of_sum.Read(sum, Index(channels), c);
    of_squares.Read(squares, Index(channels), c);
    if (!of_sum.IsWithin(kLowestOfSums, kEndOfSums) ||
        !of_squares.IsWithin(kLowestOfProducts, kEndOfProducts)) {
      return std::nullopt;
    }
    if (count > 0) {
      totals.push_back(ForwardTotals(count, of_sum, of_squares));
      continue;
    }
    if (!of_sum.is_finite() || !of_sum.Exact().Value().is_zero()) return {};
    if (!of_squares.is_finite() || !of_squares.Exact().Value().is_zero()) {
      return {};
    }
    totals.emplace_back();
  }
  return ForwardSums::FromTotals(count, std::move(totals));
}

std::optional<BackwardSums> BackwardSumsOfLimbs(std::int64_t channels,
                                                LimbsView sum_dy,
                                                LimbsView sum_dy_x) {
  std::vector<ChannelTotals> totals;
  totals.reserve(Index(channels));
  Column of_dy;
  Column of_products;
  for (std::size_t c = 0; c < Index(channels); ++c) {
    of_dy.Read(sum_dy, Index(channels), c);
    of_products.Read(sum_dy_x, Index(channels), c);
    if (!of_dy.IsWithin(kLowestOfSums, kEndOfSums) ||
        !of_products.IsWithin(kLowestOfProducts, kEndOfProducts)) {
      return std::nullopt;
    }
    totals.push_back(BackwardTotals(of_dy, of_products));
  }
  return BackwardSums::FromTotals(std::move(totals));
}

SumLimbs LimbsOfSum(const ForwardSums& sums) { return LimbsOfSums(sums); }

SumLimbs LimbsOfSquares(const ForwardSums& sums) {
  return LimbsOfProducts(sums);
}

SumLimbs LimbsOfSumDy(const BackwardSums& sums) { return LimbsOfSums(sums); }

SumLimbs LimbsOfSumDyX(const BackwardSums& sums) {
  return LimbsOfProducts(sums);
}

}  // namespace batchnorm::kernel
