#include "server/kernel/channel_sums.h"

#include <cassert>
#include <cstddef>
#include <span>
#include <utility>

#include "server/kernel/floating_point_scope.h"
#include "server/kernel/sum_codec.h"
#include "server/kernel/tensor_blocks.h"

namespace batchnorm::kernel {
namespace {

constexpr std::string_view kForwardMagic = "bnF1";
constexpr std::string_view kBackwardMagic = "bnB1";

std::size_t Index(std::int64_t channel) {
  return static_cast<std::size_t>(channel);
}

// Room for the digits that ordinary values touch, so that sums rarely grow.
ExactSum RoomFor(Dtype dtype) {
  return dtype == Dtype::kF16 ? ExactSum(-24, 16) : ExactSum(-64, 32);
}

ExactSum RoomForProducts(Dtype a, Dtype b) {
  const bool f64 = a == Dtype::kF64 || b == Dtype::kF64;
  return f64 ? ExactSum(-128, 32) : ExactSum(-64, 32);
}

// Whether every product is a double: significands of at most 53 bits together.
bool ProductsAreDoubles(Dtype a, Dtype b) {
  return a != Dtype::kF64 && b != Dtype::kF64;
}

// Adds the values of one run, each to the sum of its channel.
void AddRun(const ChannelLayout::Run& run, const double* values,
            std::vector<ExactSum>& sums) {
  ExactSum* sum = &sums[Index(run.channel)];
  for (std::int64_t i = 0; i < run.length; ++i, sum += run.channel_step) {
    sum->Add(values[i]);
  }
}

// Adds a[i] * b[i], each to the sum of its channel.
void AddProductRun(const ChannelLayout::Run& run, const double* a,
                   const double* b, bool products_are_doubles,
                   std::vector<ExactSum>& sums) {
  ExactSum* sum = &sums[Index(run.channel)];
  if (products_are_doubles) {
    for (std::int64_t i = 0; i < run.length; ++i, sum += run.channel_step) {
      sum->Add(a[i] * b[i]);
    }
  } else {
    for (std::int64_t i = 0; i < run.length; ++i, sum += run.channel_step) {
      sum->AddProduct(a[i], b[i]);
    }
  }
}

void CountRun(const ChannelLayout::Run& run,
              std::vector<std::int64_t>& counts) {
  if (run.channel_step == 0) {
    counts[Index(run.channel)] += run.length;
  } else {
    for (std::int64_t i = 0; i < run.length; ++i) {
      ++counts[Index(run.channel + i)];
    }
  }
}

void MergeAll(const std::vector<ExactSum>& parts, std::vector<ExactSum>& sums) {
  assert(parts.size() == sums.size());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i].Merge(parts[i]);
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

}  // namespace

ForwardSums::ForwardSums(std::int64_t channels, Dtype x)
    : counts_(Index(channels)),
      sums_(Index(channels), RoomFor(x)),
      squares_(Index(channels), RoomForProducts(x, x)) {}

void ForwardSums::Add(const ChannelLayout& layout, std::int64_t first,
                      TensorView x) {
  assert(layout.channels() == channels());
  const FloatingPointScope scope;
  const bool narrow = ProductsAreDoubles(x.dtype, x.dtype);
  Block values;
  ForEachBlock(x.size(), [&](std::int64_t begin, std::int64_t length) {
    const auto block = std::span(values).first(Index(length));
    ReadBlock(x, begin, block);
    const std::int64_t offset = first + begin;
    layout.ForEachRun(offset, offset + length, [&](const auto& run) {
      const std::size_t at = Index(run.offset - offset);
      CountRun(run, counts_);
      AddRun(run, &values[at], sums_);
      AddProductRun(run, &values[at], &values[at], narrow, squares_);
    });
  });
}

void ForwardSums::Merge(const ForwardSums& part) {
  MergeAll(part.sums_, sums_);
  MergeAll(part.squares_, squares_);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    counts_[i] += part.counts_[i];
  }
}

std::int64_t ForwardSums::channels() const {
  return static_cast<std::int64_t>(counts_.size());
}

std::int64_t ForwardSums::count(std::int64_t channel) const {
  return counts_[Index(channel)];
}

const ExactSum& ForwardSums::sum(std::int64_t channel) const {
  return sums_[Index(channel)];
}

const ExactSum& ForwardSums::sum_of_squares(std::int64_t channel) const {
  return squares_[Index(channel)];
}

std::string ForwardSums::Serialize() const {
  SumWriter writer(kForwardMagic, channels());
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    writer.WriteCount(counts_[i]);
    writer.WriteSum(sums_[i]);
    writer.WriteSum(squares_[i]);
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
    parsed.sums_.push_back(*std::move(sum));
    parsed.squares_.push_back(*std::move(squares));
  }
  if (!reader.AtEnd()) return std::nullopt;
  return parsed;
}

BackwardSums::BackwardSums(std::int64_t channels, Dtype x, Dtype dy)
    : dy_(Index(channels), RoomFor(dy)),
      dy_x_(Index(channels), RoomForProducts(x, dy)) {}

void BackwardSums::Add(const ChannelLayout& layout, std::int64_t first,
                       TensorView x, TensorView dy) {
  assert(layout.channels() == channels() && x.size() == dy.size());
  const FloatingPointScope scope;
  const bool narrow = ProductsAreDoubles(x.dtype, dy.dtype);
  Block x_values;
  Block dy_values;
  ForEachBlock(x.size(), [&](std::int64_t begin, std::int64_t length) {
    const auto x_block = std::span(x_values).first(Index(length));
    const auto dy_block = std::span(dy_values).first(Index(length));
    ReadBlock(x, begin, x_block);
    ReadBlock(dy, begin, dy_block);
    const std::int64_t offset = first + begin;
    layout.ForEachRun(offset, offset + length, [&](const auto& run) {
      const std::size_t at = Index(run.offset - offset);
      AddRun(run, &dy_values[at], dy_);
      AddProductRun(run, &dy_values[at], &x_values[at], narrow, dy_x_);
    });
  });
}

void BackwardSums::Merge(const BackwardSums& part) {
  MergeAll(part.dy_, dy_);
  MergeAll(part.dy_x_, dy_x_);
}

std::int64_t BackwardSums::channels() const {
  return static_cast<std::int64_t>(dy_.size());
}

const ExactSum& BackwardSums::sum_dy(std::int64_t channel) const {
  return dy_[Index(channel)];
}

const ExactSum& BackwardSums::sum_dy_x(std::int64_t channel) const {
  return dy_x_[Index(channel)];
}

std::string BackwardSums::Serialize() const {
  SumWriter writer(kBackwardMagic, channels());
  for (std::size_t i = 0; i < dy_.size(); ++i) {
    writer.WriteSum(dy_[i]);
    writer.WriteSum(dy_x_[i]);
  }
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
    parsed.dy_.push_back(*std::move(dy));
    parsed.dy_x_.push_back(*std::move(dy_x));
  }
  if (!reader.AtEnd()) return std::nullopt;
  return parsed;
}

}  // namespace batchnorm::kernel
