#include "server/kernel/channel_sums.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>

#include "server/kernel/fast_sums.h"
#include "server/kernel/fast_totals.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/sum_codec.h"
#include "server/kernel/tensor_blocks.h"
#include "server/kernel/work_split.h"

namespace batchnorm::kernel {
namespace {

constexpr std::string_view kForwardMagic = "bnF1";
constexpr std::string_view kBackwardMagic = "bnB1";

std::size_t Index(std::int64_t channel) {
  return static_cast<std::size_t>(channel);
}

// Whether some n numbers have the sum S and the sum of squares Q: the smallest
// set of conditions that finishing relies on, n*Q >= S*S among them.
bool IsSumOfSquares(std::int64_t n, const ExactSum& sum,
                    const ExactSum& squares) {
  using Kind = ExactSum::Kind;
  if (squares.kind() == Kind::kMinusInf) return false;
  if (squares.kind() == Kind::kNan) return n > 0 && sum.kind() == Kind::kNan;
  if (squares.kind() == Kind::kPlusInf) return n > 0 && !sum.is_finite();
  if (!sum.is_finite()) return false;
  const Dyadic s = sum.Value();
  return !(Dyadic::FromInteger(n) * squares.Value() - s * s).is_negative() &&
         (n > 0 || squares.Value().is_zero());
}

ChannelTotals FromSums(ExactSum sum, ExactSum products) {
  ChannelTotals totals;
  totals.spill().sum = std::move(sum);
  totals.spill().products = std::move(products);
  return totals;
}

std::vector<ChannelTotals> AtScalesOf(const std::vector<ChannelTotals>& like) {
  std::vector<ChannelTotals> empty(like.size());
  for (std::size_t i = 0; i < like.size(); ++i) empty[i].scale = like[i].scale;
  return empty;
}

// The integers themselves, where they are all there is.
void Write(const ChannelTotals& totals, SumWriter& writer) {
  if (!totals.fits()) {
    writer.WriteSum(totals.Sum());
    writer.WriteSum(totals.Products());
    return;
  }
  const TotalsScale& scale = totals.scale;
  writer.WriteSum(SmallSum(totals.sum, 0, 0, scale.sum_unit()));
  writer.WriteSum(SmallSum(totals.rest, totals.top, scale.top_shift(),
                           scale.product_unit()));
}

// Calls add(part, sums) for the parts of a box, each on a thread of its own,
// and merges them into `total`.
template <typename Sums, typename Add>
void AddInParts(const Box& box, Workers& workers, Sums& total, const Add& add) {
  std::vector<std::optional<Sums>> parts(
      static_cast<std::size_t>(workers.threads()));
  ForEachPart(box, 1, workers, [&](const Box& part, std::int64_t i) {
    if (i == 0) return add(part, total);
    add(part, parts[Index(i)].emplace(Sums::EmptyLike(total)));
  });
  for (const std::optional<Sums>& part : parts) {
    if (part) total.Merge(*part);
  }
}

// Calls visit(box) for the boxes of a block, as AddBox takes them.
template <typename Visit>
void ForEachBoxOfBlock(const ChannelLayout& layout, std::int64_t first,
                       std::int64_t size, Visit&& visit) {
  ForEachBox(layout, first, first + size, [&](Box box) {
    box.offset -= first;
    visit(box);
  });
}

}  // namespace

ForwardSums::ForwardSums(std::int64_t channels, Dtype)
    : counts_(Index(channels)), totals_(Index(channels)) {}

void ForwardSums::Add(const ChannelLayout& layout, std::int64_t first,
                      TensorView x, Workers& workers) {
  assert(layout.channels() == channels());
  const FloatingPointScope scope;
  ForEachBoxOfBlock(layout, first, x.size(), [&](const Box& box) {
    if (SplitsByChannel(box, workers)) {
      return ForEachThreadsColumns(box, workers,
                                   [&](const Box& part) { AddBox(x, part); });
    }
    PredictForwardBox(x, box, totals_.data());
    AddInParts(box, workers, *this, [&](const Box& part, ForwardSums& sums) {
      sums.AddBox(x, part);
    });
  });
}

ForwardSums ForwardSums::EmptyLike(const ForwardSums& like) {
  ForwardSums empty;
  empty.counts_.resize(like.counts_.size());
  empty.totals_ = AtScalesOf(like.totals_);
  return empty;
}

ForwardSums ForwardSums::FromTotals(std::int64_t count,
                                    std::vector<ChannelTotals> totals) {
  ForwardSums sums;
  sums.counts_.assign(totals.size(), count);
  sums.totals_ = std::move(totals);
  return sums;
}

void ForwardSums::AddBox(TensorView x, const Box& box) {
  AddForwardBox(x, box, totals_.data());
  if (box.HasChannelAColumn()) {  // a loop of whole vectors
    const auto counts = std::span(counts_).subspan(Index(box.first_channel()),
                                                   Index(box.columns));
    for (std::int64_t& count : counts) count += box.rows;
    return;
  }
  for (const auto& [channel, column, columns] : EachChannel(box)) {
    counts_[Index(channel)] += box.rows * columns;
  }
}

void ForwardSums::Merge(const ForwardSums& part) {
  assert(part.channels() == channels());
  MergeTotals(part.totals_, totals_);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    counts_[i] += part.counts_[i];
  }
}

ExactSum ForwardSums::sum(std::int64_t channel) const {
  return totals_[Index(channel)].Sum();
}

ExactSum ForwardSums::sum_of_squares(std::int64_t channel) const {
  return totals_[Index(channel)].Products();
}

std::string ForwardSums::Serialize() const {
  SumWriter writer(kForwardMagic, channels());
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    writer.WriteCount(counts_[i]);
    Write(totals_[i], writer);
  }
  return writer.Take();
}

std::optional<ForwardSums> ForwardSums::Parse(std::string_view bytes) {
  constexpr int kLeastBytes = 8 + 1 + 1;
  SumReader reader(bytes);
  const auto channels = reader.ReadHeader(kForwardMagic, kLeastBytes);
  if (!channels) return std::nullopt;
  ForwardSums parsed;
  for (std::int64_t i = 0; i < *channels; ++i) {
    const auto count = reader.ReadCount();
    auto sum = reader.ReadSum();
    auto squares = reader.ReadSum();
    if (!count || !sum || !squares) return std::nullopt;
    if (!IsSumOfSquares(*count, *sum, *squares)) return std::nullopt;
    parsed.counts_.push_back(*count);
    parsed.totals_.push_back(FromSums(*std::move(sum), *std::move(squares)));
  }
  if (!reader.AtEnd()) return std::nullopt;
  return parsed;
}

BackwardSums::BackwardSums(std::int64_t channels, Dtype, Dtype)
    : totals_(Index(channels)) {}

void BackwardSums::Add(const ChannelLayout& layout, std::int64_t first,
                       TensorView x, TensorView dy, Workers& workers) {
  assert(layout.channels() == channels() && x.size() == dy.size());
  if (x.dtype != dy.dtype) return AddMixed(layout, first, x, dy, workers);
  const FloatingPointScope scope;
  ForEachBoxOfBlock(layout, first, x.size(), [&](const Box& box) {
    if (SplitsByChannel(box, workers)) {
      return ForEachThreadsColumns(
          box, workers, [&](const Box& part) { AddBox(x, dy, part); });
    }
    PredictBackwardBox(x, dy, box, totals_.data());
    AddInParts(box, workers, *this, [&](const Box& part, BackwardSums& sums) {
      sums.AddBox(x, dy, part);
    });
  });
}

BackwardSums BackwardSums::EmptyLike(const BackwardSums& like) {
  BackwardSums empty;
  empty.totals_ = AtScalesOf(like.totals_);
  return empty;
}

BackwardSums BackwardSums::FromTotals(std::vector<ChannelTotals> totals) {
  BackwardSums sums;
  sums.totals_ = std::move(totals);
  return sums;
}

// Block by block, both widened to doubles.
void BackwardSums::AddMixed(const ChannelLayout& layout, std::int64_t first,
                            TensorView x, TensorView dy, Workers& workers) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 16;
  WideBlock wide_x(kBlock);
  WideBlock wide_dy(kBlock);
  for (std::int64_t at = 0; at < x.size(); at += kBlock) {
    const std::int64_t size = std::min(kBlock, x.size() - at);
    Add(layout, first + at, wide_x.Read(x, at, size),
        wide_dy.Read(dy, at, size), workers);
  }
}

void BackwardSums::AddBox(TensorView x, TensorView dy, const Box& box) {
  assert(x.dtype == dy.dtype);
  AddBackwardBox(x, dy, box, totals_.data());
}

void BackwardSums::Merge(const BackwardSums& part) {
  assert(part.channels() == channels());
  MergeTotals(part.totals_, totals_);
}

ExactSum BackwardSums::sum_dy(std::int64_t channel) const {
  return totals_[Index(channel)].Sum();
}

ExactSum BackwardSums::sum_dy_x(std::int64_t channel) const {
  return totals_[Index(channel)].Products();
}

std::string BackwardSums::Serialize() const {
  SumWriter writer(kBackwardMagic, channels());
  for (const ChannelTotals& totals : totals_) Write(totals, writer);
  return writer.Take();
}

std::optional<BackwardSums> BackwardSums::Parse(std::string_view bytes) {
  constexpr int kLeastBytes = 1 + 1;
  SumReader reader(bytes);
  const auto channels = reader.ReadHeader(kBackwardMagic, kLeastBytes);
  if (!channels) return std::nullopt;
  BackwardSums parsed;
  for (std::int64_t i = 0; i < *channels; ++i) {
    auto dy = reader.ReadSum();
    auto dy_x = reader.ReadSum();
    if (!dy || !dy_x) return std::nullopt;
    parsed.totals_.push_back(FromSums(*std::move(dy), *std::move(dy_x)));
  }
  if (!reader.AtEnd()) return std::nullopt;
  return parsed;
}

}  // namespace batchnorm::kernel
