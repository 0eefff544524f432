// Sums on the stack are the numbers that exact sums are.
#include "server/kernel/small_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace batchnorm::kernel {
namespace {

using Wide = SmallSum::Wide;

constexpr Wide kGreatest = ((Wide{1} << 126) - 1) * 2 + 1;  // 2^127 - 1

void ExpectExact(Wide low, Wide high, int shift, int unit) {
  ExactSum expected;
  expected.AddScaled(low, unit);
  expected.AddScaled(high, unit + shift);
  const Dyadic value = expected.Value();
  const SmallSum sum(low, high, shift, unit);
  EXPECT_EQ(sum.is_negative(), value.is_negative());
  EXPECT_TRUE(std::ranges::equal(sum.limbs(), value.limbs()));
  if (value.is_zero()) return;
  EXPECT_EQ(sum.low(), value.low());
}

// Of every length, zero among them, and of both signs.
Wide RandomWide(std::mt19937_64& random) {
  const int drop = std::uniform_int_distribution(1, 128)(random);
  const Wide bits = Wide{static_cast<std::int64_t>(random())} << 64 | random();
  return drop == 128 ? 0 : bits >> drop;
}

TEST(SmallSumTest, IsTheExactSumWhateverTheScales) {
  std::mt19937_64 random(1);
  std::uniform_int_distribution shift(0, SmallSum::kMaxShift);
  std::uniform_int_distribution unit(-2148, 1700);
  for (int i = 0; i < 100'000; ++i) {
    ExpectExact(RandomWide(random), RandomWide(random), shift(random),
                unit(random));
    if (HasFailure()) return;
  }
}

TEST(SmallSumTest, CarriesAndBorrowsReachTheEnds) {
  const std::vector<Wide> values = {0,         1,          -1,
                                    kGreatest, -kGreatest, Wide{1} << 64};
  for (const Wide low : values) {
    for (const Wide high : values) {
      for (const int shift : {0, 1, 63, 64, 65, 127, 128}) {
        for (int unit = -65; unit <= 65; ++unit) {
          ExpectExact(low, high, shift, unit);
        }
      }
    }
  }
}

TEST(SmallSumTest, WhatCancelsIsZero) {
  const SmallSum sum(-(Wide{5} << 100), 5, 100, -7);
  EXPECT_TRUE(sum.limbs().empty());
  EXPECT_FALSE(sum.is_negative());
}

}  // namespace
}  // namespace batchnorm::kernel
