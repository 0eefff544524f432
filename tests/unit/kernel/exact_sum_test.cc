// Exact sums against GMP's rationals.
#include "server/kernel/exact_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "server/kernel/rounding.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Rational;
using Kind = ExactSum::Kind;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Dyadic DyadicOf(const Rational& value) {
  Dyadic result;
  mpz_class digits = abs(value.get_num());
  const int shift =
      static_cast<int>(mpz_sizeinbase(value.get_den_mpz_t(), 2)) - 1;
  for (int i = 0; digits != 0; ++i, digits >>= 32) {
    const mpz_class low = digits & 0xffffffffu;
    result =
        result + Dyadic::FromInteger(static_cast<std::int64_t>(low.get_ui())) *
                     Dyadic::PowerOfTwo(32 * i - shift);
  }
  return value < 0 ? -result : result;
}

ExactSum SumOf(const std::vector<double>& values) {
  ExactSum sum;
  for (const double value : values) sum.Add(value);
  return sum;
}

ExactSum SumOfProducts(const std::vector<double>& a,
                       const std::vector<double>& b) {
  ExactSum sum;
  for (std::size_t i = 0; i < a.size(); ++i) sum.AddProduct(a[i], b[i]);
  return sum;
}

TEST(ExactSumTest, OfNothingIsPositiveZero) {
  EXPECT_TRUE(ExactSum().Value().is_zero());
  EXPECT_FALSE(std::signbit(ExactSum().ToDouble()));
}

TEST(ExactSumTest, OfHardValuesIsExact) {
  Random random(3);
  for (const Dtype dtype : kDtypes) {
    for (const HardChannel& channel : HardChannels(dtype, 301, random)) {
      EXPECT_EQ(SumOf(channel.x).Value(), DyadicOf(truth::Sum(channel.x)))
          << NameOf(dtype) << " " << channel.name;
    }
  }
}

TEST(ExactSumTest, OfHardProductsIsExact) {
  Random random(4);
  for (const Dtype dtype : kDtypes) {
    for (const HardChannel& channel : HardChannels(dtype, 301, random)) {
      EXPECT_EQ(SumOfProducts(channel.x, channel.x).Value(),
                DyadicOf(truth::SumOfProducts(channel.x, channel.x)))
          << NameOf(dtype) << " " << channel.name;
      EXPECT_EQ(SumOfProducts(channel.dy, channel.x).Value(),
                DyadicOf(truth::SumOfProducts(channel.dy, channel.x)))
          << NameOf(dtype) << " " << channel.name;
    }
  }
}

TEST(ExactSumTest, OfAnyDoublesIsExact) {
  std::mt19937_64 random(5);
  std::vector<double> values;
  while (values.size() < 2000) {
    const double value = std::bit_cast<double>(std::uint64_t{random()});
    if (std::isfinite(value)) values.push_back(value);
  }
  EXPECT_EQ(SumOf(values).Value(), DyadicOf(truth::Sum(values)));
  EXPECT_EQ(SumOfProducts(values, values).Value(),
            DyadicOf(truth::SumOfProducts(values, values)));
}

TEST(ExactSumTest, ScaledIntegersOfEitherWidthAreAddedExactly) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const int exponent : {-1074, -33, 0, 31, 900}) {
    ExactSum narrow;
    ExactSum wide;
    Dyadic expected;
    for (const std::int64_t value : {kLeast, kMost, kLeast, std::int64_t{-1},
                                     std::int64_t{0}, std::int64_t{12345}}) {
      narrow.AddScaled(value, exponent);
      wide.AddScaled(ExactSum::Wide{value}, exponent);
      expected = expected + Dyadic::FromInteger(value, exponent);
    }
    EXPECT_EQ(narrow.Value(), expected);
    EXPECT_EQ(wide.Value(), expected);
  }
}

TEST(ExactSumTest, SurvivesExactCancellation) {
  const ExactSum sum = SumOf({1e308, 1.0, 5e-324, -1e308, -1.0});
  EXPECT_EQ(sum.ToDouble(), 5e-324);
  const ExactSum zero = SumOf({1e308, -5e-324, -1e308, 5e-324});
  EXPECT_TRUE(zero.Value().is_zero());
}

TEST(ExactSumTest, ProductsBeyondTheRangeOfDoublesAreKept) {
  ExactSum sum;
  sum.AddProduct(1e300, 1e300);
  sum.AddProduct(5e-324, 5e-324);
  sum.AddProduct(-1e300, 1e300);
  EXPECT_EQ(sum.Value(), Dyadic::PowerOfTwo(-2148));
}

TEST(ExactSumTest, SignedZerosAddUpToPositiveZero) {
  const ExactSum sum = SumOf({-0.0, -0.0});
  EXPECT_FALSE(std::signbit(sum.ToDouble()));
}

TEST(ExactSumTest, OrderDoesNotMatter) {
  Random random(6);
  for (HardChannel& channel : HardChannels(Dtype::kF64, 100, random)) {
    const Dyadic expected = SumOf(channel.x).Value();
    std::shuffle(channel.x.begin(), channel.x.end(), random);
    EXPECT_EQ(SumOf(channel.x).Value(), expected) << channel.name;
  }
}

TEST(ExactSumTest, MergingAddsExactly) {
  Random random(7);
  const std::vector<HardChannel> channels =
      HardChannels(Dtype::kF64, 50, random);
  ExactSum merged;
  Rational expected = 0;
  for (const HardChannel& channel : channels) {
    merged.Merge(SumOf(channel.x));
    merged.Merge(SumOfProducts(channel.x, channel.dy));
    expected += truth::Sum(channel.x);
    expected += truth::SumOfProducts(channel.x, channel.dy);
  }
  EXPECT_EQ(merged.Value(), DyadicOf(expected));
}

// Each merge doubles both the value and the number of waiting additions:
// carries must come in time, and the number must outgrow its first digits.
TEST(ExactSumTest, DoublingPastTheDeferredCarriesStaysExact) {
  for (const double value :
       {0x1.fffffffffffffp31, -0x1.fffffffffffffp31, 0.1}) {
    ExactSum sum = SumOf({value});
    for (int doublings = 1; doublings <= 63; ++doublings) {
      sum.Merge(ExactSum(sum));
      ASSERT_EQ(sum.Value(),
                Dyadic::FromDouble(value) * Dyadic::PowerOfTwo(doublings));
    }
  }
}

TEST(ExactSumTest, AddingAfterAMergeOfManyStaysExact) {
  ExactSum sum = SumOf({-0x1.fffffffffffffp31});
  for (int i = 0; i < 28; ++i) sum.Merge(ExactSum(sum));
  for (int i = 0; i < 100; ++i) {
    sum.Merge(ExactSum(sum));
    sum.Add(1.0);
  }
  Dyadic expected =
      Dyadic::FromDouble(-0x1.fffffffffffffp31) * Dyadic::PowerOfTwo(28);
  for (int i = 0; i < 100; ++i) {
    expected = expected + expected + Dyadic::FromInteger(1);
  }
  EXPECT_EQ(sum.Value(), expected);
}

TEST(ExactSumTest, RoundTripsThroughItsValue) {
  Random random(8);
  for (const HardChannel& channel : HardChannels(Dtype::kF64, 40, random)) {
    const ExactSum sum = SumOfProducts(channel.x, channel.dy);
    ExactSum copy = ExactSum::FromDyadic(sum.Value());
    EXPECT_EQ(copy.Value(), sum.Value());
    copy.Merge(sum);
    EXPECT_EQ(copy.Value(), sum.Value() + sum.Value());
    copy.Add(-1.5);
    EXPECT_EQ(copy.Value(),
              sum.Value() + sum.Value() - Dyadic::FromDouble(1.5));
  }
}

struct NonFiniteCase {
  std::vector<double> values;
  Kind kind;
};

TEST(ExactSumTest, InfinitiesAndNanStick) {
  const NonFiniteCase cases[] = {
      {{1, kInfinity, 2}, Kind::kPlusInf},
      {{-kInfinity, 1e308, -kInfinity}, Kind::kMinusInf},
      {{kInfinity, -kInfinity}, Kind::kNan},
      {{kNan, 1}, Kind::kNan},
      {{kNan, kInfinity}, Kind::kNan},
      {{kInfinity, kNan}, Kind::kNan},
      {{kInfinity, -kInfinity, kInfinity}, Kind::kNan},
  };
  for (const NonFiniteCase& c : cases) {
    EXPECT_EQ(SumOf(c.values).kind(), c.kind);
    ExactSum merged;
    for (const double value : c.values) merged.Merge(SumOf({value}));
    EXPECT_EQ(merged.kind(), c.kind);
  }
}

TEST(ExactSumTest, ProductsFollowIeeeAtInfinity) {
  EXPECT_EQ(SumOfProducts({kInfinity}, {-2}).kind(), Kind::kMinusInf);
  EXPECT_EQ(SumOfProducts({-kInfinity}, {-kInfinity}).kind(), Kind::kPlusInf);
  EXPECT_EQ(SumOfProducts({kInfinity}, {0}).kind(), Kind::kNan);
  EXPECT_EQ(SumOfProducts({kNan}, {0}).kind(), Kind::kNan);
  EXPECT_EQ(SumOfProducts({1e308}, {1e308}).kind(), Kind::kFinite);
}

TEST(ExactSumTest, NonFiniteSumsConvertToTheirDoubles) {
  EXPECT_EQ(SumOf({kInfinity}).ToDouble(), kInfinity);
  EXPECT_EQ(SumOf({-kInfinity}).ToDouble(), -kInfinity);
  EXPECT_TRUE(std::isnan(SumOf({kNan}).ToDouble()));
}

}  // namespace
}  // namespace batchnorm::kernel
