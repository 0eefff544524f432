// The sums of design and derivation, one set a channel, kept exactly:
//
//   ForwardSums    n, S = sum(x), Q = sum(x*x)
//   BackwardSums   D = sum(dy), P = sum(dy*x)
//
// Adding parts in any order and merging them in any tree gives the same value,
// because it is integer addition (README.md, "Exact sums"). NaN and Inf are
// remembered as flags of their channel. Thread-compatible.
#ifndef BATCHNORMD_SERVER_KERNEL_CHANNEL_SUMS_H_
#define BATCHNORMD_SERVER_KERNEL_CHANNEL_SUMS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/kernel/box.h"
#include "server/kernel/channel_layout.h"
#include "server/kernel/channel_totals.h"
#include "server/kernel/exact_sum.h"
#include "server/kernel/tensor_view.h"
#include "server/kernel/workers.h"

namespace batchnorm::kernel {

class ForwardSums {
 public:
  // Zeros.
  ForwardSums(std::int64_t channels, Dtype x);

  // Zeros at the scales of `like`, to be merged with it.
  static ForwardSums EmptyLike(const ForwardSums& like);

  // Of `count` values in each channel. REQUIRES: n*Q >= S*S.
  static ForwardSums FromTotals(std::int64_t count,
                                std::vector<ChannelTotals> totals);

  // Adds the block of the batch that begins at flat offset `first`.
  void Add(const ChannelLayout& layout, std::int64_t first, TensorView x,
           Workers& workers = Workers::Inline());

  // Adds a box of x, whose offset counts from the first element of x. Boxes of
  // distinct channels may be added from several threads at once.
  // REQUIRES: a FloatingPointScope.
  void AddBox(TensorView x, const Box& box);

  // REQUIRES: the same number of channels. Dtypes may differ.
  void Merge(const ForwardSums& part);

  std::int64_t channels() const {
    return static_cast<std::int64_t>(counts_.size());
  }
  const ChannelTotals& totals(std::int64_t channel) const {
    return totals_[static_cast<std::size_t>(channel)];
  }
  std::span<const ChannelTotals> totals(std::size_t first,
                                        std::size_t size) const {
    return std::span(totals_).subspan(first, size);
  }
  std::int64_t count(std::int64_t channel) const {  // n
    return counts_[static_cast<std::size_t>(channel)];
  }
  ExactSum sum(std::int64_t channel) const;             // S
  ExactSum sum_of_squares(std::int64_t channel) const;  // Q

  // Canonical bytes: equal sums give equal bytes, however they were made.
  // The format is in README.md, "Serialised sums".
  std::string Serialize() const;
  // Empty if the bytes are not what Serialize gives, for any batch: n*Q < S*S
  // is refused too.
  static std::optional<ForwardSums> Parse(std::string_view bytes);

 private:
  ForwardSums() = default;  // for Parse

  std::vector<std::int64_t> counts_;
  std::vector<ChannelTotals> totals_;
};

class BackwardSums {
 public:
  BackwardSums(std::int64_t channels, Dtype x, Dtype dy);

  static BackwardSums EmptyLike(const BackwardSums& like);
  static BackwardSums FromTotals(std::vector<ChannelTotals> totals);

  // Adds the block of x and dy that begins at flat offset `first`.
  void Add(const ChannelLayout& layout, std::int64_t first, TensorView x,
           TensorView dy, Workers& workers = Workers::Inline());
  // As ForwardSums::AddBox. REQUIRES: x and dy have one dtype.
  void AddBox(TensorView x, TensorView dy, const Box& box);
  void Merge(const BackwardSums& part);

  std::int64_t channels() const {
    return static_cast<std::int64_t>(totals_.size());
  }
  const ChannelTotals& totals(std::int64_t channel) const {
    return totals_[static_cast<std::size_t>(channel)];
  }
  std::span<const ChannelTotals> totals(std::size_t first,
                                        std::size_t size) const {
    return std::span(totals_).subspan(first, size);
  }
  ExactSum sum_dy(std::int64_t channel) const;    // D
  ExactSum sum_dy_x(std::int64_t channel) const;  // P

  std::string Serialize() const;
  static std::optional<BackwardSums> Parse(std::string_view bytes);

 private:
  BackwardSums() = default;  // for Parse

  // Add, where x and dy have different dtypes.
  void AddMixed(const ChannelLayout& layout, std::int64_t first, TensorView x,
                TensorView dy, Workers& workers);

  std::vector<ChannelTotals> totals_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CHANNEL_SUMS_H_
