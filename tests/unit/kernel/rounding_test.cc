// Correct rounding of quotients and roots, against MPFR.
#include "server/kernel/rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Rational;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Number {
  Dyadic dyadic;
  Rational exact;
};

Number operator*(const Number& a, const Number& b) {
  return {a.dyadic * b.dyadic, a.exact * b.exact};
}
Number operator+(const Number& a, const Number& b) {
  return {a.dyadic + b.dyadic, a.exact + b.exact};
}

Number Of(double value) {
  return {Dyadic::FromDouble(value), truth::Exact(value)};
}
Number PowerOfTwo(int exponent) {
  return {Dyadic::PowerOfTwo(exponent), truth::PowerOfTwo(exponent)};
}

class RoundingTest : public testing::Test {
 protected:
  // Positive, of 53 to 159 bits, between 2^-range and 2^range.
  Number Next(int range) {
    const auto digits = [&] {
      return static_cast<double>(random_() >> 11) + 1;
    };
    const int exponent =
        static_cast<int>(random_() % static_cast<unsigned>(2 * range)) - range;
    Number result = Of(digits());
    if (random_() % 2) result = result * Of(digits());
    if (random_() % 2) result = result * Of(digits()) + Of(1);
    return result * PowerOfTwo(exponent);
  }
  double NextDouble(int low, int high) {
    const int exponent =
        low + static_cast<int>(random_() % static_cast<unsigned>(high - low));
    return std::ldexp(static_cast<double>(random_() >> 11 | 1ull << 52),
                      exponent - 52);
  }

  std::mt19937_64 random_{2};
};

TEST_F(RoundingTest, QuotientsAreTheNearestDoubles) {
  for (int i = 0; i < 10000; ++i) {
    const Number a = Next(i % 2 ? 40 : 500);
    const Number b = Next(i % 2 ? 40 : 500);
    const double expected = truth::Nearest(a.exact / b.exact);
    ASSERT_EQ(RoundQuotient(a.dyadic, b.dyadic), expected);
    ASSERT_EQ(RoundQuotient(-a.dyadic, b.dyadic), -expected);
    ASSERT_EQ(RoundQuotient(a.dyadic, -b.dyadic), -expected);
  }
}

TEST_F(RoundingTest, RootsAreTheNearestDoubles) {
  for (int i = 0; i < 10000; ++i) {
    const Number a = Next(i % 2 ? 40 : 900);
    const Number b = Next(i % 2 ? 40 : 900);
    ASSERT_EQ(RoundSqrtQuotient(a.dyadic, b.dyadic),
              truth::NearestSqrt(a.exact / b.exact));
  }
}

TEST_F(RoundingTest, ExactDoublesComeBack) {
  for (int i = 0; i < 2000; ++i) {
    const double value = NextDouble(-1022, 1023);
    const Number b = Next(300);
    ASSERT_EQ(Round(Dyadic::FromDouble(value)), value);
    ASSERT_EQ(RoundQuotient(Dyadic::FromDouble(value) * b.dyadic, b.dyadic),
              value);
    const Dyadic square = Dyadic::FromDouble(value) * Dyadic::FromDouble(value);
    ASSERT_EQ(RoundSqrtQuotient(square * b.dyadic, b.dyadic), value);
  }
}

// Halfway between two doubles, and the least bit to either side of it.
TEST_F(RoundingTest, TiesGoToEven) {
  for (int i = 0; i < 2000; ++i) {
    const double below = NextDouble(-900, 900);
    const double above = std::nextafter(below, kInfinity);
    const Number b = Next(100);
    const Dyadic middle =
        (Dyadic::FromDouble(below) + Dyadic::FromDouble(above)) *
        Dyadic::PowerOfTwo(-1);
    const Dyadic little = Dyadic::PowerOfTwo(-3000);
    const bool below_is_even = std::bit_cast<std::uint64_t>(below) % 2 == 0;
    const double even = below_is_even ? below : above;
    ASSERT_EQ(RoundQuotient(middle * b.dyadic, b.dyadic), even);
    ASSERT_EQ(RoundQuotient((middle - little) * b.dyadic, b.dyadic), below);
    ASSERT_EQ(RoundQuotient((middle + little) * b.dyadic, b.dyadic), above);
    ASSERT_EQ(RoundSqrtQuotient(middle * middle, Dyadic::PowerOfTwo(0)), even);
    ASSERT_EQ(
        RoundSqrtQuotient(middle * middle + little, Dyadic::PowerOfTwo(0)),
        above);
    ASSERT_EQ(
        RoundSqrtQuotient(middle * middle - little, Dyadic::PowerOfTwo(0)),
        below);
  }
}

TEST_F(RoundingTest, JustBelowAPowerOfTwoRoundsUpToIt) {
  const Dyadic almost = Dyadic::PowerOfTwo(10) - Dyadic::PowerOfTwo(-200);
  EXPECT_EQ(Round(almost), 1024.0);
  EXPECT_EQ(RoundSqrtQuotient(almost * almost, Dyadic::PowerOfTwo(0)), 1024.0);
}

TEST_F(RoundingTest, SmallResultsRoundToSubnormals) {
  for (int i = 0; i < 3000; ++i) {
    const Number a = Next(20) * PowerOfTwo(-1060);
    const Number b = Next(20);
    ASSERT_EQ(RoundQuotient(a.dyadic, b.dyadic),
              truth::Nearest(a.exact / b.exact));
    const Number square = a * a;
    const Number b_square = b * b;
    ASSERT_EQ(RoundSqrtQuotient(square.dyadic, b_square.dyadic),
              truth::NearestSqrt(square.exact / b_square.exact));
  }
  EXPECT_EQ(Round(Dyadic::PowerOfTwo(-1074)), 5e-324);
  EXPECT_EQ(Round(Dyadic::PowerOfTwo(-1075)), 0.0);
  EXPECT_EQ(Round(Dyadic::PowerOfTwo(-1075) + Dyadic::PowerOfTwo(-2000)),
            5e-324);
  EXPECT_EQ(Round(Dyadic::PowerOfTwo(-5000)), 0.0);
}

TEST_F(RoundingTest, LargeResultsBecomeInfinite) {
  const Dyadic largest = Dyadic::FromDouble(std::numeric_limits<double>::max());
  const Dyadic half_step = Dyadic::PowerOfTwo(970);
  const Dyadic little = Dyadic::PowerOfTwo(0);
  EXPECT_EQ(Round(largest), std::numeric_limits<double>::max());
  EXPECT_EQ(Round(largest + half_step - little),
            std::numeric_limits<double>::max());
  EXPECT_EQ(Round(largest + half_step), kInfinity);
  EXPECT_EQ(Round(-(largest + half_step)), -kInfinity);
  EXPECT_EQ(Round(Dyadic::PowerOfTwo(4000)), kInfinity);
  EXPECT_EQ(RoundSqrtQuotient(Dyadic::PowerOfTwo(2048), Dyadic::PowerOfTwo(0)),
            kInfinity);
}

TEST_F(RoundingTest, ZeroIsPositive) {
  const Dyadic minus_three = Dyadic::FromInteger(-3);
  EXPECT_FALSE(std::signbit(RoundQuotient(Dyadic(), minus_three)));
  EXPECT_FALSE(std::signbit(Round(Dyadic::FromDouble(-0.0))));
}

TEST_F(RoundingTest, FloorLog2OfRootsIsExactAtPowersOfFour) {
  const Dyadic one = Dyadic::FromInteger(1);
  const Dyadic little = Dyadic::PowerOfTwo(-500);
  for (int exponent = -40; exponent < 40; ++exponent) {
    const Dyadic square = Dyadic::PowerOfTwo(2 * exponent);
    EXPECT_EQ(FloorLog2SqrtQuotient(square, one), exponent);
    EXPECT_EQ(FloorLog2SqrtQuotient(square - little, one), exponent - 1);
    EXPECT_EQ(FloorLog2SqrtQuotient(one, square), -exponent);
  }
}

}  // namespace
}  // namespace batchnorm::kernel
