// Expansions are what channel_expansions.h says, against exact rationals.
#include "server/kernel/channel_expansions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/generated_values.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Equal;
using truth::Exact;
using truth::PowerOfTwo;
using truth::Rational;

constexpr std::size_t kCounts[] = {1, 2, 49, 1000};

bool AreFinite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value); });
}

Rational Total(const ChannelLimbs& limbs) {
  Rational total = 0;
  for (const auto& limb : limbs) total += Exact(limb[0]);
  return total;
}

bool IsMultipleOf(const Rational& unit, const ChannelLimbs& limbs) {
  return std::all_of(limbs.begin(), limbs.end(), [&](const auto& limb) {
    const Rational quotient = Exact(limb[0]) / unit;
    return quotient.get_den() == 1;
  });
}

bool AreBelow(double bound, const ChannelLimbs& limbs) {
  return std::all_of(limbs.begin(), limbs.end(), [&](const auto& limb) {
    return std::abs(limb[0]) < bound;
  });
}

// A number known but for a rest.
void ExpectWithin(const Rational& actual, double rest,
                  const Rational& expected) {
  if (rest == 0) {
    EXPECT_TRUE(Equal(actual, expected));
  } else {
    EXPECT_TRUE(abs(actual - expected) < Exact(rest));
  }
}

void ExpectExpansions(const ForwardExpansions& of_x,
                      const std::vector<double>& x) {
  if (of_x.unit[0] == 0) return;
  const Rational unit = Exact(of_x.unit[0]);
  const Rational squared_unit = unit * unit;
  EXPECT_TRUE(Equal(Total(of_x.sum) * unit, truth::Sum(x)));
  const Rational squares = truth::SumOfProducts(x, x) / squared_unit;
  ExpectWithin(Total(of_x.squares), of_x.rest_of_squares[0], squares);
  EXPECT_TRUE(IsMultipleOf(PowerOfTwo(-100), of_x.sum));
  EXPECT_TRUE(IsMultipleOf(1, of_x.squares));
  EXPECT_TRUE(AreBelow(0x1p200, of_x.sum) && AreBelow(0x1p200, of_x.squares));
}

void ExpectExpansions(const BackwardExpansions& of_dy,
                      const std::vector<double>& dy,
                      const std::vector<double>& x) {
  if (of_dy.dy_unit[0] == 0) return;
  const Rational products =
      truth::SumOfProducts(dy, x) / Exact(of_dy.product_unit[0]);
  EXPECT_TRUE(
      Equal(Total(of_dy.sum_dy) * Exact(of_dy.dy_unit[0]), truth::Sum(dy)));
  ExpectWithin(Total(of_dy.sum_dy_x), of_dy.rest_of_sum_dy_x[0], products);
  EXPECT_TRUE(IsMultipleOf(1, of_dy.sum_dy));
  EXPECT_TRUE(IsMultipleOf(1, of_dy.sum_dy_x));
  EXPECT_TRUE(AreBelow(0x1p200, of_dy.sum_dy));
  EXPECT_TRUE(AreBelow(0x1p200, of_dy.sum_dy_x));
}

class ChannelExpansionsTest : public testing::TestWithParam<Dtype> {};

INSTANTIATE_TEST_SUITE_P(Dtypes, ChannelExpansionsTest,
                         testing::ValuesIn(kDtypes),
                         [](const auto& dtype) { return NameOf(dtype.param); });

// One channel of `x` and `dy`, expanded.
struct Channel {
  Channel(Dtype dtype, const std::vector<double>& x_values,
          const std::vector<double>& dy_values)
      : x(RoundedTo(dtype, x_values)), dy(RoundedTo(dtype, dy_values)) {
    const ChannelLayout layout(
        std::vector{static_cast<std::int64_t>(x.size()), std::int64_t{1}},
        std::vector{1});
    Expand(SumsOf(layout, TestTensor(dtype, x)), {0, 1}, of_x);
    Expand(SumsOf(layout, TestTensor(dtype, x), TestTensor(dtype, dy)), {0, 1},
           of_dy);
  }

  std::vector<double> x;
  std::vector<double> dy;
  ForwardExpansions of_x;
  BackwardExpansions of_dy;
};

TEST_P(ChannelExpansionsTest, TheyAreTheSumsOrHaveNoUnit) {
  Random random(41);
  for (const std::size_t count : kCounts) {
    for (const Generator& of_x : Generators()) {
      for (const Generator& of_dy : Generators()) {
        SCOPED_TRACE(of_x.name + ", " + of_dy.name + ", " +
                     std::to_string(count));
        const Channel channel(GetParam(), Generate(of_x, count, random),
                              Generate(of_dy, count, random));
        if (!AreFinite(channel.x)) {
          EXPECT_EQ(channel.of_x.unit[0], 0);
          EXPECT_EQ(channel.of_dy.dy_unit[0], 0);
        } else if (!AreFinite(channel.dy)) {
          EXPECT_EQ(channel.of_dy.dy_unit[0], 0);
        } else {
          ExpectExpansions(channel.of_x, channel.x);
          ExpectExpansions(channel.of_dy, channel.dy, channel.x);
        }
      }
    }
  }
}

TEST(ChannelExpansionsTest, SumsThatThreeLimbsDoNotHoldHaveNoUnit) {
  const std::vector<double> ones(3, 1.0);
  const std::vector<double> held = {0x1p60, 0x1p-98, 0.0};
  const std::vector<double> long_sum = {0x1p60, 0x1p-99, 0.0};
  EXPECT_NE(Channel(Dtype::kF32, held, held).of_x.unit[0], 0);
  EXPECT_NE(Channel(Dtype::kF32, ones, held).of_dy.dy_unit[0], 0);
  EXPECT_EQ(Channel(Dtype::kF32, long_sum, held).of_x.unit[0], 0);
  EXPECT_EQ(Channel(Dtype::kF32, ones, long_sum).of_dy.dy_unit[0], 0);
  // Short, but far below the squares.
  const std::vector<double> cancels = {0x1p60, -0x1p60, 0x1p-149};
  EXPECT_EQ(Channel(Dtype::kF32, cancels, ones).of_x.unit[0], 0);
}

}  // namespace
}  // namespace batchnorm::kernel
