// Results do not depend on layout, order, cut or merge tree, to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

using Shape = std::vector<std::int64_t>;
using Axes = std::vector<int>;

constexpr double kEps = 1e-5;
constexpr Degenerate kIeee = Degenerate::kIeee;

struct Results {
  std::string forward_bytes;
  std::string backward_bytes;
  Statistics statistics;
  Gradients gradients;
};

bool SameBits(const Results& a, const Results& b) {
  return a.forward_bytes == b.forward_bytes &&
         a.backward_bytes == b.backward_bytes &&
         kernel::SameBits(a.statistics, b.statistics) &&
         kernel::SameBits(a.gradients, b.gradients);
}

Results Finish(const ForwardSums& forward, const BackwardSums& backward) {
  return {forward.Serialize(), backward.Serialize(),
          FinishForward(forward, kEps, kIeee),
          FinishBackward(forward, backward, kEps, kIeee)};
}

// A batch of five axes, N C1 H C2 W, of hard values; C1 and C2 index channels.
struct Batch {
  Dtype dtype;
  Shape shape;
  std::vector<double> x;
  std::vector<double> dy;
};

Batch HardBatch(Dtype dtype, Random& random) {
  const auto channels = HardChannels(dtype, 24, random);  // 4 * 3 * 2 values
  const auto size = static_cast<std::int64_t>(channels.size());
  const std::int64_t c1 = size % 4 == 0 ? 4 : 3;
  Batch batch = {dtype, {4, c1, 3, size / c1, 2}, {}, {}};
  for (std::int64_t n = 0; n < 4; ++n) {
    for (std::int64_t a = 0; a < c1; ++a) {
      for (std::int64_t h = 0; h < 3; ++h) {
        for (std::int64_t b = 0; b < size / c1; ++b) {
          for (std::int64_t w = 0; w < 2; ++w) {
            const auto& c =
                channels[static_cast<std::size_t>(a * (size / c1) + b)];
            const auto at = static_cast<std::size_t>((n * 3 + h) * 2 + w);
            batch.x.push_back(c.x[at]);
            batch.dy.push_back(c.dy[at]);
          }
        }
      }
    }
  }
  return batch;
}

// The offset in the permuted tensor of each element of the original one.
std::vector<std::size_t> Permutation(const Shape& shape,
                                     const std::vector<int>& order) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto axis = static_cast<std::size_t>(order[i]);
    strides[axis] = stride;
    stride *= shape[axis];
  }
  std::vector<std::size_t> offsets;
  for (std::int64_t flat = 0; flat < stride; ++flat) {
    std::int64_t rest = flat;
    std::int64_t offset = 0;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      offset += rest % shape[axis] * strides[axis];
      rest /= shape[axis];
    }
    offsets.push_back(static_cast<std::size_t>(offset));
  }
  return offsets;
}

std::vector<double> Permuted(const std::vector<double>& values,
                             const std::vector<std::size_t>& offsets) {
  std::vector<double> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    result[offsets[i]] = values[i];
  }
  return result;
}

struct Outcome {
  Results results;
  std::vector<double> y;  // in the original order
  std::vector<double> dx;
};

std::vector<double> Unpermuted(const std::vector<double>& values,
                               const std::vector<std::size_t>& offsets) {
  std::vector<double> result(offsets.size());
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    result[i] = values[offsets[i]];
  }
  return result;
}

// Everything computed with the axes in `order`. Channel axes keep their order
// among themselves, so channels keep their numbers.
Outcome Compute(const Batch& batch, const std::vector<int>& order) {
  Shape shape;
  Axes channel_axes;
  for (const int axis : order) {
    if (axis == 1 || axis == 3) {
      channel_axes.push_back(static_cast<int>(shape.size()));
    }
    shape.push_back(batch.shape[static_cast<std::size_t>(axis)]);
  }
  const auto offsets = Permutation(batch.shape, order);
  const ChannelLayout layout(shape, channel_axes);
  const TestTensor x(batch.dtype, Permuted(batch.x, offsets));
  const TestTensor dy(batch.dtype, Permuted(batch.dy, offsets));
  const Results results = Finish(SumsOf(layout, x), SumsOf(layout, x, dy));
  const auto channels = static_cast<std::size_t>(layout.channels());
  const std::vector<double> gamma(channels, 1.7);
  const std::vector<double> beta(channels, -0.3);
  const TestTensor y = Normalize(layout, x, results.statistics, gamma, beta);
  const TestTensor dx = Differentiate(layout, x, dy, results.statistics,
                                      results.gradients, gamma);
  return {results, Unpermuted(y.values(), offsets),
          Unpermuted(dx.values(), offsets)};
}

class SameBitsTest : public testing::TestWithParam<Dtype> {};

// Case 43. Orders in which axis 1 stays before axis 3: NCHW, channels last,
// channels first, and mixed.
TEST_P(SameBitsTest, Case43AnyLayoutOfABatchGivesTheSameBits) {
  Random random(18);
  const Batch batch = HardBatch(GetParam(), random);
  const Outcome expected = Compute(batch, {0, 1, 2, 3, 4});
  std::vector<int> order = {0, 1, 2, 3, 4};
  int layouts = 0;
  do {
    const auto first = std::find(order.begin(), order.end(), 1);
    if (std::find(first, order.end(), 3) == order.end()) continue;
    const Outcome actual = Compute(batch, order);
    ASSERT_TRUE(SameBits(actual.results, expected.results));
    ASSERT_TRUE(kernel::SameBits(actual.y, expected.y));
    ASSERT_TRUE(kernel::SameBits(actual.dx, expected.dx));
    ++layouts;
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(layouts, 60);
}

struct Parts {
  std::vector<ForwardSums> forward;
  std::vector<BackwardSums> backward;
};

// Appends what arrives when a part is sent as bytes.
template <typename Sums>
void Send(const Sums& part, std::vector<Sums>& parts) {
  if (const auto parsed = Sums::Parse(part.Serialize())) {
    parts.push_back(*parsed);
  } else {
    ADD_FAILURE() << "a part's own bytes are refused";
  }
}

// The tensor cut at random places into 1 to 64 parts, each summed apart and
// sent as bytes.
Parts SumParts(const ChannelLayout& layout, const TestTensor& x,
               const TestTensor& dy, Random& random) {
  const auto size = static_cast<std::uint64_t>(layout.size());
  std::vector<std::int64_t> cuts = {0, layout.size()};
  for (std::uint64_t parts = 1 + random() % 64; parts-- > 1;) {
    cuts.push_back(static_cast<std::int64_t>(random() % (size + 1)));
  }
  std::sort(cuts.begin(), cuts.end());
  Parts parts;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const std::int64_t first = cuts[i];
    const std::int64_t length = cuts[i + 1] - first;
    ForwardSums forward(layout.channels(), x.dtype());
    BackwardSums backward(layout.channels(), x.dtype(), dy.dtype());
    forward.Add(layout, first, x.Slice(first, length));
    backward.Add(layout, first, x.Slice(first, length),
                 dy.Slice(first, length));
    Send(forward, parts.forward);
    Send(backward, parts.backward);
  }
  return parts;
}

// Merges random pairs until one is left.
template <typename Sums>
Sums MergeInARandomTree(std::vector<Sums> parts, Random& random) {
  while (parts.size() > 1) {
    std::swap(parts[random() % parts.size()], parts.back());
    const Sums last = std::move(parts.back());
    parts.pop_back();
    parts[random() % parts.size()].Merge(last);
  }
  return std::move(parts.front());
}

// Case 44, and the promise of the whole project: 1,000 trials a dtype.
TEST_P(SameBitsTest, Case44AnyCutAndAnyMergeTreeGivesTheSameBits) {
  Random random(19);
  for (int batch_number = 0; batch_number < 20; ++batch_number) {
    const Batch batch = HardBatch(GetParam(), random);
    const ChannelLayout layout(batch.shape, Axes{1, 3});
    const TestTensor x(batch.dtype, batch.x);
    const TestTensor dy(batch.dtype, batch.dy);
    const Results expected = Finish(SumsOf(layout, x), SumsOf(layout, x, dy));
    for (int trial = 0; trial < 50; ++trial) {
      Parts parts = SumParts(layout, x, dy, random);
      const ForwardSums forward =
          MergeInARandomTree(std::move(parts.forward), random);
      const BackwardSums backward =
          MergeInARandomTree(std::move(parts.backward), random);
      ASSERT_EQ(forward.Serialize(), expected.forward_bytes);
      ASSERT_EQ(backward.Serialize(), expected.backward_bytes);
      if (trial % 10 == 0) {
        ASSERT_TRUE(SameBits(Finish(forward, backward), expected));
      }
    }
  }
}

// Blocks as a stream would deliver them.
TEST_P(SameBitsTest, Case44AnyBlocksOfTheApplyPassGiveTheSameBits) {
  Random random(20);
  const Batch batch = HardBatch(GetParam(), random);
  const ChannelLayout layout(batch.shape, Axes{1, 3});
  const TestTensor x(batch.dtype, batch.x);
  const TestTensor dy(batch.dtype, batch.dy);
  const Results results = Finish(SumsOf(layout, x), SumsOf(layout, x, dy));
  const TestTensor whole_y = Normalize(layout, x, results.statistics);
  const TestTensor whole_dx =
      Differentiate(layout, x, dy, results.statistics, results.gradients);
  for (int trial = 0; trial < 20; ++trial) {
    TestTensor y(batch.dtype, layout.size());
    TestTensor dx(batch.dtype, layout.size());
    for (std::int64_t at = 0; at < layout.size();) {
      const std::int64_t length = std::min(
          static_cast<std::int64_t>(1 + random() % 500), layout.size() - at);
      ApplyForward(layout, at, x.Slice(at, length), results.statistics, {}, {},
                   y.MutableSlice(at, length));
      ApplyBackward(layout, at, x.Slice(at, length), dy.Slice(at, length),
                    results.statistics, results.gradients, {},
                    dx.MutableSlice(at, length));
      at += length;
    }
    ASSERT_EQ(y, whole_y);
    ASSERT_EQ(dx, whole_dx);
  }
}

TEST_P(SameBitsTest, ShufflingTheRowsOfABatchKeepsItsStatistics) {
  Random random(21);
  const auto channels = HardChannels(GetParam(), 200, random);
  const auto layout_of = [](const std::vector<double>& values) {
    return ChannelLayout(std::vector{static_cast<std::int64_t>(values.size())},
                         Axes{});
  };
  for (const HardChannel& channel : channels) {
    std::vector<std::size_t> order(channel.x.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    const TestTensor x(GetParam(), channel.x);
    const TestTensor dy(GetParam(), channel.dy);
    const TestTensor shuffled_x(GetParam(), Unpermuted(channel.x, order));
    const TestTensor shuffled_dy(GetParam(), Unpermuted(channel.dy, order));
    const ChannelLayout layout = layout_of(channel.x);
    EXPECT_TRUE(SameBits(Finish(SumsOf(layout, x), SumsOf(layout, x, dy)),
                         Finish(SumsOf(layout, shuffled_x),
                                SumsOf(layout, shuffled_x, shuffled_dy))))
        << channel.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SameBitsTest, testing::ValuesIn(kDtypes),
                         [](const auto& instance) {
                           return NameOf(instance.param);
                         });

// Parts may be of several dtypes, as long as they hold the same numbers.
TEST(SameBitsTest, TheDtypeOfAPartDoesNotMatter) {
  const ChannelLayout layout(Shape{8}, Axes{});
  const std::vector<double> values = {1, -2, 0.5, 3, 100, -0.125, 7, 6};
  const std::string expected =
      SumsOf(layout, TestTensor(Dtype::kF64, values)).Serialize();
  for (const Dtype dtype : kDtypes) {
    EXPECT_EQ(SumsOf(layout, TestTensor(dtype, values)).Serialize(), expected);
  }
}

}  // namespace
}  // namespace batchnorm::kernel
