// The other way of sum_limbs.h: exact sums as the fewest rows of doubles.
#include <bit>
#include <cmath>
#include <map>
#include <utility>

#include "server/kernel/dyadic.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/small_sum.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::kernel {
namespace {

std::size_t Index(std::int64_t i) { return static_cast<std::size_t>(i); }

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
  const FloatingPointScope scope;
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

SumLimbs LimbsOfSum(const ForwardSums& sums) { return LimbsOfSums(sums); }

SumLimbs LimbsOfSquares(const ForwardSums& sums) {
  return LimbsOfProducts(sums);
}

SumLimbs LimbsOfSumDy(const BackwardSums& sums) { return LimbsOfSums(sums); }

SumLimbs LimbsOfSumDyX(const BackwardSums& sums) {
  return LimbsOfProducts(sums);
}

}  // namespace batchnorm::kernel
