// Layouts against the definition of row-major indexing.
#include "server/kernel/channel_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace batchnorm::kernel {
namespace {

using Shape = std::vector<std::int64_t>;
using Axes = std::vector<int>;

// The channel of each element, by counting up the indices of all axes.
std::vector<std::int64_t> DefinedChannels(const Shape& shape,
                                          const Axes& channel_axes) {
  std::vector<std::int64_t> channels;
  Shape index(shape.size());
  std::int64_t size = 1;
  for (const std::int64_t n : shape) size *= n;
  for (std::int64_t offset = 0; offset < size; ++offset) {
    std::int64_t channel = 0;
    std::int64_t rest = offset;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      index[axis] = rest % shape[axis];
      rest /= shape[axis];
    }
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      const bool is_channel =
          std::count(channel_axes.begin(), channel_axes.end(),
                     static_cast<int>(axis)) != 0;
      if (is_channel) channel = channel * shape[axis] + index[axis];
    }
    channels.push_back(channel);
  }
  return channels;
}

void ExpectRunsCover(const ChannelLayout& layout,
                     const std::vector<std::int64_t>& channels,
                     std::int64_t begin, std::int64_t end) {
  std::int64_t at = begin;
  layout.ForEachRun(begin, end, [&](const ChannelLayout::Run& run) {
    ASSERT_EQ(run.offset, at);
    ASSERT_GT(run.length, 0);
    for (std::int64_t i = 0; i < run.length; ++i, ++at) {
      ASSERT_EQ(run.channel + i * run.channel_step,
                channels[static_cast<std::size_t>(at)]);
    }
  });
  ASSERT_EQ(at, end);
}

TEST(ChannelLayoutTest, RunsOfAnyPartOfAnyShapeNameTheirChannels) {
  std::mt19937_64 random(10);
  for (int trial = 0; trial < 500; ++trial) {
    Shape shape(1 + random() % 6);
    Axes axes;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      shape[axis] = static_cast<std::int64_t>(1 + random() % 4);
      if (random() % 2) axes.push_back(static_cast<int>(axis));
    }
    std::shuffle(axes.begin(), axes.end(), random);
    const ChannelLayout layout(shape, axes);
    const auto channels = DefinedChannels(shape, axes);
    ASSERT_EQ(layout.size(), static_cast<std::int64_t>(channels.size()));
    ASSERT_EQ(layout.count() * layout.channels(), layout.size());
    const auto size = static_cast<std::uint64_t>(layout.size());
    auto begin = static_cast<std::int64_t>(random() % (size + 1));
    auto end = static_cast<std::int64_t>(random() % (size + 1));
    ExpectRunsCover(layout, channels, 0, layout.size());
    ExpectRunsCover(layout, channels, std::min(begin, end),
                    std::max(begin, end));
    for (std::int64_t i = 0; i < layout.size(); ++i) {
      ASSERT_EQ(layout.ChannelOf(i), channels[static_cast<std::size_t>(i)]);
    }
  }
}

TEST(ChannelLayoutTest, NeighbouringAxesOfOneKindMakeOneRun) {
  const ChannelLayout nchw(Shape{2, 3, 4, 5}, Axes{1});
  int runs = 0;
  nchw.ForEachRun(0, nchw.size(), [&](const ChannelLayout::Run& run) {
    EXPECT_EQ(run.length, 20);
    EXPECT_EQ(run.channel_step, 0);
    ++runs;
  });
  EXPECT_EQ(runs, 6);
}

TEST(ChannelLayoutTest, AxesOfSizeOneDoNotCutRuns) {
  const ChannelLayout layout(Shape{2, 3, 1, 4, 1}, Axes{1, 3, 4});
  int runs = 0;
  layout.ForEachRun(0, layout.size(), [&](const ChannelLayout::Run& run) {
    EXPECT_EQ(run.length, 12);
    EXPECT_EQ(run.channel_step, 1);
    ++runs;
  });
  EXPECT_EQ(runs, 2);
}

TEST(ChannelLayoutTest, Case42RankOneIsOneChannelOrOneValueEach) {
  const ChannelLayout reduced(Shape{7}, Axes{});
  EXPECT_EQ(reduced.channels(), 1);
  EXPECT_EQ(reduced.count(), 7);
  const ChannelLayout channels(Shape{7}, Axes{0});
  EXPECT_EQ(channels.channels(), 7);
  EXPECT_EQ(channels.count(), 1);
}

TEST(ChannelLayoutTest, EmptyAxesGiveNoElements) {
  const ChannelLayout no_rows(Shape{0, 5, 2}, Axes{1});
  EXPECT_EQ(no_rows.size(), 0);
  EXPECT_EQ(no_rows.channels(), 5);
  EXPECT_EQ(no_rows.count(), 0);
  const ChannelLayout no_channels(Shape{3, 0}, Axes{1});
  EXPECT_EQ(no_channels.size(), 0);
  EXPECT_EQ(no_channels.channels(), 0);
  EXPECT_EQ(no_channels.count(), 3);
}

// Case 45: more than 2^31 elements, without holding any.
TEST(ChannelLayoutTest, Case45OffsetsBeyond32BitsAreIndexed) {
  const std::int64_t rows = std::int64_t{1} << 33;
  const ChannelLayout layout(Shape{rows, 3, 5}, Axes{1});
  EXPECT_EQ(layout.size(), rows * 15);
  EXPECT_EQ(layout.count(), rows * 5);
  EXPECT_EQ(layout.ChannelOf((rows - 1) * 15 + 11), 2);
  const ChannelLayout wide(Shape{2, rows}, Axes{1});
  EXPECT_EQ(wide.ChannelOf(rows + rows - 1), rows - 1);
}

}  // namespace
}  // namespace batchnorm::kernel
