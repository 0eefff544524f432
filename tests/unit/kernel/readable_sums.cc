#include "tests/unit/kernel/readable_sums.h"

#include <cstddef>
#include <cstdint>

namespace batchnorm::kernel {
namespace {

bool Same(const ExactSum& a, const ExactSum& b) {
  if (a.kind() != b.kind()) return false;
  return !a.is_finite() || a.Value() == b.Value();
}

testing::AssertionResult Compare(std::int64_t channel, const ExactSum& sum,
                                 const ExactSum& products,
                                 const ReadableSums& expected) {
  const auto c = static_cast<std::size_t>(channel);
  if (!Same(sum, expected.sum[c])) {
    return testing::AssertionFailure()
           << "sum of channel " << channel << ": " << sum.ToDouble()
           << ", expected " << expected.sum[c].ToDouble();
  }
  if (!Same(products, expected.products[c])) {
    return testing::AssertionFailure()
           << "products of channel " << channel << ": " << products.ToDouble()
           << ", expected " << expected.products[c].ToDouble();
  }
  return testing::AssertionSuccess();
}

}  // namespace

ReadableSums::ReadableSums(const ChannelLayout& layout,
                           const std::vector<double>& a,
                           const std::vector<double>& b)
    : sum(static_cast<std::size_t>(layout.channels())),
      products(static_cast<std::size_t>(layout.channels())) {
  layout.ForEachRun(0, layout.size(), [&](const ChannelLayout::Run& run) {
    for (std::int64_t i = 0; i < run.length; ++i) {
      const auto c =
          static_cast<std::size_t>(run.channel + i * run.channel_step);
      const auto at = static_cast<std::size_t>(run.offset + i);
      sum[c].Add(a[at]);
      products[c].AddProduct(a[at], b[at]);
    }
  });
}

testing::AssertionResult Has(const ForwardSums& actual,
                             const ReadableSums& expected) {
  for (std::int64_t c = 0; c < actual.channels(); ++c) {
    const auto same =
        Compare(c, actual.sum(c), actual.sum_of_squares(c), expected);
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult Has(const BackwardSums& actual,
                             const ReadableSums& expected) {
  for (std::int64_t c = 0; c < actual.channels(); ++c) {
    const auto same =
        Compare(c, actual.sum_dy(c), actual.sum_dy_x(c), expected);
    if (!same) return same;
  }
  return testing::AssertionSuccess();
}

}  // namespace batchnorm::kernel
