// The integers of a channel, and what does not fit them.
#include "server/kernel/channel_totals.h"

#include <gtest/gtest.h>

#include <utility>

namespace batchnorm::kernel {
namespace {

using Wide = ChannelTotals::Wide;

constexpr TotalsScale kScale = {
    .top = 3, .other_top = -2, .kind = SumKind::kWideProducts};
constexpr TotalsScale kOtherScale = {
    .top = 5, .other_top = 0, .kind = SumKind::kNarrowSquares};

ChannelTotals At(const TotalsScale& scale, Wide sum, Wide top, Wide rest) {
  ChannelTotals totals;
  totals.Rescale(scale);
  totals.Add(sum, top, rest);
  return totals;
}

ExactSum Times(Wide units, int exponent) {
  ExactSum value;
  value.AddScaled(units, exponent);
  return value;
}

TEST(ChannelTotalsTest, ValuesAreUnitsOfTheirScale) {
  const ChannelTotals totals = At(kScale, -7, 2, 9);
  EXPECT_EQ(totals.Sum().Value(), Times(-7, kScale.sum_unit()).Value());
  ExactSum products = Times(9, kScale.product_unit());
  products.Merge(Times(2, kScale.product_unit() + kScale.top_shift()));
  EXPECT_EQ(totals.Products().Value(), products.Value());
  EXPECT_TRUE(totals.fits());
}

// Merges a part, and compares with the merged exact sums.
void ExpectMergeIsExact(ChannelTotals merged, const ChannelTotals& part,
                        bool as_integers) {
  ExactSum sum = merged.Sum();
  sum.Merge(part.Sum());
  ExactSum products = merged.Products();
  products.Merge(part.Products());
  merged.Merge(part);
  EXPECT_EQ(merged.fits(), as_integers);
  EXPECT_EQ(merged.Sum().Value(), sum.Value());
  EXPECT_EQ(merged.Products().Value(), products.Value());
}

TEST(ChannelTotalsTest, NearScalesAreMergedAsIntegers) {
  constexpr TotalsScale kScales[] = {
      {.top = 3, .other_top = 3, .kind = SumKind::kNarrowSquares},
      {.top = 5, .other_top = 4, .kind = SumKind::kNarrowSquares},
      {.top = -9, .other_top = 12, .kind = SumKind::kNarrowSquares}};
  for (const TotalsScale& first : kScales) {
    for (const TotalsScale& second : kScales) {
      ExpectMergeIsExact(At(first, 11, -3, 5), At(second, -70, 1, 9), true);
    }
  }
}

TEST(ChannelTotalsTest, ScalesTooFarApartAreMergedExactlyToo) {
  constexpr TotalsScale kLow = {
      .top = -100, .other_top = -100, .kind = SumKind::kNarrowSquares};
  constexpr TotalsScale kHigh = {
      .top = 100, .other_top = 90, .kind = SumKind::kNarrowSquares};
  ExpectMergeIsExact(At(kHigh, 11, -3, 5), At(kLow, -70, 1, 9), false);
  ExpectMergeIsExact(At(kLow, 11, -3, 5), At(kHigh, -70, 1, 9), false);
}

TEST(ChannelTotalsTest, AnotherScaleKeepsTheValue) {
  ChannelTotals totals = At(kScale, 11, -3, 5);
  const ChannelTotals before = totals;
  totals.Rescale(kOtherScale);
  EXPECT_FALSE(totals.fits());
  EXPECT_EQ(totals.Sum().Value(), before.Sum().Value());
  EXPECT_EQ(totals.Products().Value(), before.Products().Value());
}

TEST(ChannelTotalsTest, LargeTotalsAreSpilledBeforeTheyOverflow) {
  constexpr Wide kLarge = Wide{1} << 119;
  ChannelTotals totals = At(kScale, kLarge, -kLarge, kLarge);
  ExactSum sum;
  for (int i = 0; i < 1000; ++i) {
    totals.Add(kLarge, -kLarge, kLarge);
    sum.Merge(Times(kLarge, kScale.sum_unit()));
  }
  sum.Merge(Times(kLarge, kScale.sum_unit()));
  EXPECT_EQ(totals.Sum().Value(), sum.Value());
  EXPECT_FALSE(totals.fits());
}

TEST(ChannelTotalsTest, PartsMergeAtAnyScales) {
  const ChannelTotals one = At(kScale, 1, 2, 3);
  const ChannelTotals other = At(kOtherScale, 4, 5, 6);
  ExactSum expected = one.Sum();
  expected.Merge(other.Sum());
  for (auto [first, second] : {std::pair{&one, &other}, {&other, &one}}) {
    ChannelTotals merged;
    merged.Merge(*first);
    EXPECT_TRUE(merged.fits());
    merged.Merge(*second);
    EXPECT_EQ(merged.Sum().Value(), expected.Value());
  }
}

TEST(ChannelTotalsTest, CopiesHaveSpillsOfTheirOwn) {
  ChannelTotals totals = At(kScale, 1, 2, 3);
  totals.spill().sum.Add(0.5);
  const ChannelTotals copy = totals;
  totals.spill().sum.Add(100);
  EXPECT_NE(copy.Sum().Value(), totals.Sum().Value());
}

}  // namespace
}  // namespace batchnorm::kernel
