#include "server/kernel/leading_bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "server/kernel/dyadic.h"
#include "server/kernel/exact_sum.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Exact;
using truth::PowerOfTwo;
using truth::Rational;

Rational ValueOf(std::span<const std::int64_t> digits, int low) {
  Rational value = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    value += Rational(digits[i]) * PowerOfTwo(low + 32 * static_cast<int>(i));
  }
  return value;
}

Rational TotalOf(const LeadingBits& bits, int unit) {
  Rational total = 0;
  for (std::size_t i = 0; i < 3; ++i) total += Exact(bits.Limb(i, unit));
  return total * PowerOfTwo(unit);
}

void ExpectLeading(const LeadingBits& bits, const Rational& value) {
  const Rational rest = abs(value) - abs(TotalOf(bits, bits.exponent));
  EXPECT_TRUE(rest >= 0 && rest < PowerOfTwo(bits.exponent));
  EXPECT_EQ(rest == 0, bits.is_all);
  EXPECT_EQ(bits.is_negative, value < 0);
  EXPECT_EQ(bits.is_zero(), value == 0);
  if (value == 0) return;
  EXPECT_GE(bits.limbs[0], std::uint64_t{1} << 52);
  for (const std::uint64_t limb : bits.limbs) {
    EXPECT_LT(limb, std::uint64_t{1} << 53);
  }
  const Rational lowest = PowerOfTwo(bits.LowestBit());
  const Rational in_lowest = TotalOf(bits, bits.exponent) / lowest;
  EXPECT_TRUE(in_lowest.get_den() == 1);
  EXPECT_TRUE(mpz_odd_p(in_lowest.get_num().get_mpz_t()));
}

// Digits with waiting carries, leading and trailing zeros, of both signs.
TEST(LeadingBitsTest, TheyAreTheFirst159BitsOfRandomDigits) {
  Random random(31);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::int64_t> digits(random() % 14);
    for (std::int64_t& digit : digits) {
      if (random() % 3 == 0) continue;
      digit = static_cast<std::int64_t>(random()) >> (2 + random() % 61);
    }
    const int low = 32 * (static_cast<int>(random() % 40) - 30);
    SCOPED_TRACE(i);
    ExpectLeading(LeadingBits::OfDigits(digits, low), ValueOf(digits, low));
  }
}

TEST(LeadingBitsTest, TheyAreTheSameOfDigitsAndOfLimbs) {
  Random random(32);
  for (int i = 0; i < 20000; ++i) {
    ExactSum sum;
    const std::uint64_t terms = random() % 5;
    for (std::uint64_t k = 0; k < terms; ++k) {
      const auto integer =
          static_cast<double>(random() >> (11 + random() % 53));
      sum.Add(std::ldexp(random() % 2 == 0 ? integer : -integer,
                         static_cast<int>(random() % 400) - 200));
    }
    const Dyadic value = sum.Value();
    EXPECT_EQ(sum.Leading(), LeadingBits::OfLimbs(value.is_negative(),
                                                  value.low(), value.limbs()))
        << i;
  }
}

TEST(LeadingBitsTest, TheRestIsSeenWhereverItIs) {
  for (const int size : {10, 157, 158, 159, 160, 300, 1000}) {
    for (const double sign : {1.0, -1.0}) {
      ExactSum sum;
      sum.Add(sign * std::ldexp(1.0, 500));
      sum.Add(sign * std::ldexp(1.0, 500 - size));
      const LeadingBits bits = sum.Leading();
      EXPECT_EQ(bits.is_all, size <= 158) << size;
      EXPECT_EQ(bits.LowestBit(), size <= 158 ? 500 - size : 500) << size;
      EXPECT_EQ(bits.exponent, 500 - 158);
    }
  }
}

TEST(LeadingBitsTest, WhatCancelsIsZeroOrShort) {
  ExactSum sum;
  sum.Add(1e300);
  sum.Add(5e-324);
  sum.Add(-1e300);
  EXPECT_EQ(sum.Leading().LowestBit(), -1074);
  EXPECT_TRUE(sum.Leading().is_all);
  sum.Add(-5e-324);
  EXPECT_TRUE(sum.Leading().is_zero());
  EXPECT_TRUE(ExactSum().Leading().is_zero());
  EXPECT_TRUE(ExactSum().Leading().is_all);
}

TEST(LeadingBitsTest, LimbsAreInTheUnitAskedFor) {
  ExactSum sum;
  sum.Add(-0x1.8p70);
  EXPECT_EQ(sum.Leading().Limb(0, 30), -0x1.8p40);
  EXPECT_EQ(sum.Leading().Limb(0, 100), -0x1.8p-30);
  EXPECT_EQ(sum.Leading().Limb(1, 30), 0);
}

}  // namespace
}  // namespace batchnorm::kernel
