// What is done to the integers of many channels in lanes is what it is one by
// one, on every target and for every number of channels.
#include "server/kernel/fast_totals.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "server/kernel/certificate.h"
#include "tests/unit/kernel/forced_target.h"

namespace batchnorm::kernel {
namespace {

using Wide = ChannelTotals::Wide;

constexpr TotalsScale kSquares = {
    .top = 3, .other_top = 3, .kind = SumKind::kNarrowSquares};
constexpr TotalsScale kProducts = {
    .top = -40, .other_top = 7, .kind = SumKind::kNarrowProducts};
constexpr TotalsScale kWide = {
    .top = 3, .other_top = 3, .kind = SumKind::kWideSquares};

class FastTotalsTest : public testing::TestWithParam<std::int64_t> {
 protected:
  // Of either sign, and of any length up to so many bits.
  Wide Integer(int bits) {
    const int length = std::uniform_int_distribution(0, bits)(random_);
    if (length == 0) return 0;
    const auto all = Wide{static_cast<std::int64_t>(random_() >> 1)} << 64 |
                     Wide{static_cast<std::int64_t>(random_() >> 1)} << 1;
    const Wide magnitude = all >> (127 - length);
    return random_() % 2 == 0 ? magnitude : -magnitude;
  }

  // Of the many there are.
  std::pair<std::int64_t, std::int64_t> SomeHalves(Wide value) {
    const int moved = std::uniform_int_distribution(-100, 100)(random_);
    const Wide high = (value >> kLimbLowBits) + moved;
    return {
        static_cast<std::int64_t>(high),
        static_cast<std::int64_t>(value - high * (Wide{1} << kLimbLowBits))};
  }

  ChannelTotals Totals(const TotalsScale& scale, int bits) {
    ChannelTotals totals;
    totals.scale = scale;
    totals.sum = Integer(bits);
    totals.top = Integer(bits);
    totals.rest = Integer(bits);
    return totals;
  }

  std::mt19937_64 random_{5};

 private:
  ForcedTarget target_{GetParam()};
};

void ExpectSame(const ChannelTotals& left, const ChannelTotals& right) {
  ASSERT_TRUE(left.scale == right.scale);
  ASSERT_TRUE(left.sum == right.sum);
  ASSERT_TRUE(left.top == right.top);
  ASSERT_TRUE(left.rest == right.rest);
  ASSERT_EQ(left.fits(), right.fits());
  if (left.fits()) return;
  ASSERT_EQ(left.Sum().Value(), right.Sum().Value());
  ASSERT_EQ(left.Products().Value(), right.Products().Value());
}

Halves HalvesOf(const std::vector<std::pair<std::int64_t, std::int64_t>>& all) {
  Halves halves;
  for (std::size_t i = 0; i < all.size(); ++i) {
    halves.high[i] = all[i].first;
    halves.low[i] = all[i].second;
  }
  return halves;
}

TEST_P(FastTotalsTest, HalvesBecomeTopsAndSmallRests) {
  for (std::size_t size = 1; size <= kHalvesChannels; ++size) {
    for (const TotalsScale& scale : {kSquares, kProducts}) {
      std::vector<std::pair<std::int64_t, std::int64_t>> sums(size);
      std::vector<std::pair<std::int64_t, std::int64_t>> products(size);
      for (auto* all : {&sums, &products}) {
        for (auto& [high, low] : *all) {
          high = static_cast<std::int64_t>(Integer(62));
          low = static_cast<std::int64_t>(Integer(63));
        }
      }
      std::vector<ChannelTotals> totals(size);
      SetIntegers(scale, HalvesOf(sums), HalvesOf(products), totals);
      for (std::size_t c = 0; c < size; ++c) {
        const auto value = [](const auto& halves) {
          return (Wide{halves.first} << kLimbLowBits) + halves.second;
        };
        const Wide weight = Wide{1} << scale.top_shift();
        ASSERT_TRUE(totals[c].scale == scale);
        ASSERT_TRUE(totals[c].sum == value(sums[c]));
        ASSERT_TRUE(totals[c].top * weight + totals[c].rest ==
                    value(products[c]));
        ASSERT_TRUE(totals[c].rest >= 0 && totals[c].rest < weight);
      }
    }
  }
}

// n*Q and S*S are exact in 128 bits here.
TEST_P(FastTotalsTest, OnlyNumbersAreClearlyNumbers) {
  int clear = 0;
  for (int repeat = 0; repeat < 5000; ++repeat) {
    const std::int64_t count = 1 + static_cast<std::int64_t>(random_() % 1000);
    const auto sum =
        static_cast<std::int64_t>(Integer(repeat % 3 == 0 ? 6 : 50));
    const Wide least = Wide{sum} * sum / count;
    // Mostly near the bound, on either side.
    const Wide squares = least + Integer(repeat % 2 == 0 ? 100 : 3);
    std::vector<std::pair<std::int64_t, std::int64_t>> sums(kHalvesChannels);
    std::vector<std::pair<std::int64_t, std::int64_t>> products(
        kHalvesChannels);
    const auto at = static_cast<std::size_t>(repeat) % kHalvesChannels;
    sums[at] = SomeHalves(sum);
    products[at] = SomeHalves(squares);
    if (!AreClearlyOfNumbers(count, HalvesOf(sums), HalvesOf(products))) {
      continue;
    }
    ++clear;
    ASSERT_TRUE(count * squares >= Wide{sum} * sum);
  }
  EXPECT_GT(clear, 1000);
}

TEST_P(FastTotalsTest, PartsAreMergedAsTheyAreOneByOne) {
  const TotalsScale scales[] = {kSquares, kSquares, kSquares, kProducts, kWide};
  for (std::size_t size = 0; size <= 70; ++size) {
    for (const int bits : {60, 119, 121}) {
      std::vector<ChannelTotals> totals;
      std::vector<ChannelTotals> parts;
      for (std::size_t c = 0; c < size; ++c) {
        totals.push_back(Totals(scales[random_() % 5], bits));
        parts.push_back(Totals(scales[random_() % 5], bits));
        if (random_() % 8 == 0) parts.back().spill().sum.Add(1.5);
        if (random_() % 8 == 0) totals.back().spill().products.Add(-2.5);
      }
      std::vector<ChannelTotals> expected = totals;
      for (std::size_t c = 0; c < size; ++c) expected[c].Merge(parts[c]);
      MergeTotals(parts, totals);
      for (std::size_t c = 0; c < size; ++c) ExpectSame(totals[c], expected[c]);
    }
  }
}

// The total of limbs that are integers.
template <std::size_t size>
Wide ValueOf(const std::array<std::vector<double>, size>& limbs,
             std::size_t channel) {
  Wide value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const int shift = 52 * static_cast<int>(i);
    const double limb = std::ldexp(limbs[i][channel], -shift);
    EXPECT_EQ(limb, std::trunc(limb));
    value += Wide{static_cast<std::int64_t>(limb)} * (Wide{1} << shift);
  }
  return value;
}

template <std::size_t size>
std::array<double*, size> RowsOf(std::array<std::vector<double>, size>& limbs) {
  std::array<double*, size> rows;
  for (std::size_t i = 0; i < size; ++i) rows[i] = limbs[i].data();
  return rows;
}

TEST_P(FastTotalsTest, LimbsAreTheIntegersTheyAreCutFromAndThenZeros) {
  for (std::size_t size = 1; size <= 140; ++size) {
    for (const TotalsScale& scale : {kSquares, kProducts}) {
      std::vector<ChannelTotals> totals;
      for (std::size_t c = 0; c < size; ++c) {
        totals.push_back(Totals(scale, 0));
        totals.back().sum = Integer(104);
        totals.back().top = Integer(79);
        totals.back().rest = Integer(119);
      }
      const std::size_t room = (size + 7) / 8 * 8;
      std::array<std::vector<double>, 2> sum;
      std::array<std::vector<double>, 3> products;
      for (auto& limb : sum) limb.assign(room, 0);
      for (auto& limb : products) limb.assign(room, 0);
      ASSERT_TRUE(
          CutIntegers(scale.kind, totals, RowsOf(sum), RowsOf(products)));
      const Wide weight = Wide{1} << scale.top_shift();
      for (std::size_t c = 0; c < room; ++c) {
        const bool is_there = c < size;
        ASSERT_TRUE(ValueOf(sum, c) == (is_there ? totals[c].sum : 0));
        ASSERT_TRUE(ValueOf(products, c) ==
                    (is_there ? totals[c].top * weight + totals[c].rest : 0));
      }
    }
  }
}

TEST_P(FastTotalsTest, WhatIsTooLargeForItsLimbsIsNotCut) {
  for (std::size_t at = 0; at < 70; ++at) {
    for (const Wide large : {Wide{1} << 106, -(Wide{1} << 106) - 1}) {
      for (Wide ChannelIntegers::* member :
           {&ChannelIntegers::sum, &ChannelIntegers::top}) {
        std::vector<ChannelTotals> totals(70);
        totals[at].*member = large;
        std::array<std::vector<double>, 2> sum;
        std::array<std::vector<double>, 3> products;
        for (auto& limb : sum) limb.resize(72);
        for (auto& limb : products) limb.resize(72);
        ASSERT_FALSE(
            CutIntegers(kSquares.kind, totals, RowsOf(sum), RowsOf(products)));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FastTotalsTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& each) {
                           return hwy::TargetName(each.param);
                         });

}  // namespace
}  // namespace batchnorm::kernel
