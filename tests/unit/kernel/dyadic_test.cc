// Exact arithmetic against GMP's rationals.
#include "server/kernel/dyadic.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Equal;
using truth::Rational;

Rational Exact(const Dyadic& value) {
  Rational result = 0;
  int exponent = 64 * value.low();
  for (const Dyadic::Limb limb : value.limbs()) {
    const Rational digits =
        truth::Exact(static_cast<double>(limb >> 32)) * truth::PowerOfTwo(32) +
        truth::Exact(static_cast<double>(limb & 0xffffffff));
    result += digits * truth::PowerOfTwo(exponent);
    exponent += 64;
  }
  return value.is_negative() ? Rational(-result) : result;
}

class DyadicTest : public testing::Test {
 protected:
  // Any finite double: all exponents, both signs, sometimes 0.
  double AnyDouble() {
    for (;;) {
      const double value = std::bit_cast<double>(std::uint64_t{random_()});
      if (std::isfinite(value)) return random_() % 16 == 0 ? 0.0 : value;
    }
  }
  // A double of at most 100 binades from 1, so that sums overlap.
  double NearDouble() {
    const double digits = static_cast<double>(random_() >> 11);
    const int exponent = static_cast<int>(random_() % 200) - 150;
    return std::ldexp(random_() % 2 ? digits : -digits, exponent);
  }
  double Next() { return random_() % 2 ? AnyDouble() : NearDouble(); }

  // A number of several limbs, with its truth.
  std::pair<Dyadic, Rational> NextNumber() {
    const double a = Next();
    const double b = Next();
    const double c = Next();
    return {
        Dyadic::FromDouble(a) * Dyadic::FromDouble(b) + Dyadic::FromDouble(c),
        truth::Exact(a) * truth::Exact(b) + truth::Exact(c)};
  }

  std::mt19937_64 random_{1};
};

TEST_F(DyadicTest, HoldsEveryDoubleExactly) {
  for (int i = 0; i < 2000; ++i) {
    const double value = AnyDouble();
    EXPECT_TRUE(Equal(Exact(Dyadic::FromDouble(value)), truth::Exact(value)))
        << value;
  }
}

TEST_F(DyadicTest, HoldsTheEndsOfTheDoubleRange) {
  for (const double value :
       {5e-324, -5e-324, 0x1p-1022, 0x0.fffffffffffffp-1022,
        1.7976931348623157e308, 1.0, -0.0}) {
    EXPECT_TRUE(Equal(Exact(Dyadic::FromDouble(value)), truth::Exact(value)))
        << value;
  }
}

TEST_F(DyadicTest, HoldsEveryIntegerExactly) {
  EXPECT_TRUE(
      Equal(Exact(Dyadic::FromInteger(INT64_MIN)), -truth::PowerOfTwo(63)));
  EXPECT_TRUE(Equal(Exact(Dyadic::FromInteger(INT64_MAX)),
                    truth::PowerOfTwo(63) - Rational(1)));
  EXPECT_TRUE(Equal(Exact(Dyadic::FromInteger(-7)), Rational(-7)));
  EXPECT_TRUE(Dyadic::FromInteger(0).is_zero());
}

TEST_F(DyadicTest, HoldsPowersOfTwoOfAnyExponent) {
  for (const int exponent : {-4300, -65, -64, -63, -1, 0, 1, 63, 64, 4300}) {
    EXPECT_TRUE(Equal(Exact(Dyadic::PowerOfTwo(exponent)),
                      truth::PowerOfTwo(exponent)));
  }
}

TEST_F(DyadicTest, AddsSubtractsAndMultipliesExactly) {
  for (int i = 0; i < 3000; ++i) {
    const auto [a, exact_a] = NextNumber();
    const auto [b, exact_b] = NextNumber();
    EXPECT_TRUE(Equal(Exact(a + b), exact_a + exact_b));
    EXPECT_TRUE(Equal(Exact(a - b), exact_a - exact_b));
    EXPECT_TRUE(Equal(Exact(a * b), exact_a * exact_b));
    EXPECT_TRUE(Equal(Exact(-a), -exact_a));
  }
}

TEST_F(DyadicTest, CarriesAndBorrowsAcrossManyLimbs) {
  const Dyadic large = Dyadic::PowerOfTwo(640);
  const Dyadic one = Dyadic::FromInteger(1);
  EXPECT_TRUE(Equal(Exact(large - one), truth::PowerOfTwo(640) - Rational(1)));
  EXPECT_EQ((large - one) + one, large);
}

TEST_F(DyadicTest, ComparesMagnitudesExactly) {
  for (int i = 0; i < 3000; ++i) {
    const auto [a, exact_a] = NextNumber();
    const auto [b, exact_b] = NextNumber();
    const int expected = cmp(abs(exact_a), abs(exact_b));
    const int actual = CompareMagnitudes(a, b);
    EXPECT_EQ(actual < 0, expected < 0);
    EXPECT_EQ(actual > 0, expected > 0);
    EXPECT_EQ(CompareMagnitudes(a, -a), 0);
  }
}

TEST_F(DyadicTest, EqualNumbersAreEqualHoweverTheyWereMade) {
  for (int i = 0; i < 1000; ++i) {
    const Dyadic a = NextNumber().first;
    const Dyadic b = NextNumber().first;
    EXPECT_EQ((a + b) - b, a);
    EXPECT_EQ(a - a, Dyadic());
    EXPECT_EQ((a + b) * (a - b), a * a - b * b);
  }
}

TEST_F(DyadicTest, FloorLog2AndLeadingBitsDescribeTheMagnitude) {
  for (int i = 0; i < 1000; ++i) {
    const auto [a, exact] = NextNumber();
    if (a.is_zero()) continue;
    EXPECT_TRUE(truth::PowerOfTwo(a.FloorLog2()) <= abs(exact));
    EXPECT_TRUE(abs(exact) < truth::PowerOfTwo(a.FloorLog2() + 1));
    const truth::Real leading(
        Rational(abs(exact) / truth::PowerOfTwo(a.FloorLog2())));
    EXPECT_NEAR(a.LeadingBits(), leading.ToDouble(), 0x1p-50);
  }
}

TEST_F(DyadicTest, TheLeadingIntegerIsWhatIsLeftWithoutTheLowerBits) {
  for (int i = 0; i < 1000; ++i) {
    const auto [a, exact] = NextNumber();
    if (a.is_zero()) continue;
    const unsigned __int128 head = a.LeadingInteger();
    const Dyadic high =
        Dyadic::FromLimbs(false, 0,
                          {static_cast<std::uint64_t>(head),
                           static_cast<std::uint64_t>(head >> 64)});
    EXPECT_EQ(high.FloorLog2(), 127);
    const Dyadic unit = Dyadic::PowerOfTwo(a.FloorLog2() - 127);
    const Dyadic one = Dyadic::FromInteger(1);
    EXPECT_LE(CompareMagnitudes(high * unit, a), 0);
    EXPECT_GT(CompareMagnitudes((high + one) * unit, a), 0);
  }
}

}  // namespace
}  // namespace batchnorm::kernel
