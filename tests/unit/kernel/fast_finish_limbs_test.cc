// The fast finishing of limbs as they come, against rationals: in any order, of
// any sign, and where all but the last digits of them cancel.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "server/kernel/channel_expansions.h"
#include "server/kernel/finish.h"
#include "tests/unit/kernel/fast_finish_run.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Exact;
using truth::Nearest;
using truth::NearestSqrt;
using truth::Rational;

class FastFinishLimbsTest : public OnEachTarget {};

INSTANTIATE_TEST_SUITE_P(Targets, FastFinishLimbsTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         NameOfTarget);

// Limbs of one channel with what is expected of them, in rationals.
struct RawChannel {
  std::array<double, 3> sum;
  std::array<double, 3> squares;
  double unit;
  double rest = 0;  // of squares

  template <std::size_t size>
  static Rational Total(const std::array<double, size>& limbs) {
    Rational total = 0;
    for (const double limb : limbs) total += Exact(limb);
    return total;
  }
  Rational S() const { return Total(sum) * Exact(unit); }
  Rational Q() const { return Total(squares) * Exact(unit) * Exact(unit); }
};

void CopyLimbs(const std::array<double, 3>& from, std::size_t entry,
               ChannelLimbs& to) {
  for (std::size_t i = 0; i < 3; ++i) to[i][entry] = from[i];
}

// What gives the expansions of a block of such channels.
auto Raw(std::vector<RawChannel> channels, std::int64_t count) {
  return [channels = std::move(channels), count](ChannelRange block) {
    ForwardExpansions to{};
    to.count = count;
    for (std::size_t i = 0; i < block.size(); ++i) {
      const RawChannel& channel = channels[block.first + i];
      CopyLimbs(channel.sum, i, to.sum);
      CopyLimbs(channel.squares, i, to.squares);
      to.rest_of_squares[i] = channel.rest;
      to.unit[i] = channel.unit;
    }
    return to;
  };
}

// The same, where sum is D and squares are P.
auto RawGradients(std::vector<RawChannel> channels) {
  return [channels = std::move(channels)](ChannelRange block) {
    BackwardExpansions to{};
    for (std::size_t i = 0; i < block.size(); ++i) {
      const RawChannel& channel = channels[block.first + i];
      CopyLimbs(channel.sum, i, to.sum_dy);
      CopyLimbs(channel.squares, i, to.sum_dy_x);
      to.dy_unit[i] = channel.unit;
      to.product_unit[i] = channel.unit * channel.unit;
    }
    return to;
  };
}

// An integer of up to 53 bits, times up to 2^max_exponent, of either sign.
double RandomLimb(std::uint64_t max_exponent, Random& random) {
  const double integer = static_cast<double>(random() >> (11 + random() % 53));
  const double sign = random() % 2 == 0 ? 1 : -1;
  return sign *
         std::ldexp(integer, static_cast<int>(random() % (max_exponent + 1)));
}

TEST_P(FastFinishLimbsTest, LimbsInAnyOrderAndOfAnySignAreAddedUp) {
  Random random(24);
  std::vector<RawChannel> channels;
  for (int i = 0; i < 2000; ++i) {
    RawChannel channel = {{RandomLimb(25, random), RandomLimb(20, random),
                           i % 3 == 0 ? RandomLimb(90, random) * 0x1p-100 : 0},
                          {RandomLimb(40, random), RandomLimb(60, random),
                           std::ldexp(1.0 + i, 170 + i % 10)},
                          std::ldexp(1.0, i % 80 - 60)};
    if (i % 7 == 0) channel.sum[static_cast<std::size_t>(i % 2)] = 0;
    std::rotate(channel.sum.begin(), channel.sum.begin() + i % 2,
                channel.sum.end());
    std::rotate(channel.squares.begin(), channel.squares.begin() + i % 3,
                channel.squares.end());
    channels.push_back(channel);
  }
  const std::int64_t count = 12345;
  const double eps = 1e-5;
  const FastStatistics fast(Raw(channels, count), channels.size(), eps);
  for (std::size_t c = 0; c < channels.size(); ++c) {
    ASSERT_EQ(fast.certain[c], 1) << c;
    const Rational mean = channels[c].S() / count;
    const Rational var = channels[c].Q() / count - mean * mean;
    ASSERT_EQ(fast.values.mean[c], Nearest(mean));
    ASSERT_EQ(fast.values.mean_lo[c],
              Nearest(mean - Exact(fast.values.mean[c])));
    ASSERT_EQ(fast.values.var[c], Nearest(var));
    ASSERT_EQ(fast.values.inv_std[c], NearestSqrt(1 / (var + Exact(eps))));
  }
}

// Three limbs of an integer below 2^200, of which it may drop some last bits.
std::array<double, 3> LimbsOf(Rational integer) {
  std::array<double, 3> limbs;
  for (double& limb : limbs) {
    limb = Nearest(integer);
    integer -= Exact(limb);
  }
  return limbs;
}

// Sums of three full limbs whose squares nearly cancel n*Q.
TEST_P(FastFinishLimbsTest, ThirdLimbsCountWhereTheVarianceIsTiny) {
  Random random(30);
  const std::int64_t count = 12345;
  const auto full = [&] { return static_cast<double>(random() >> 11); };
  std::vector<RawChannel> channels;
  for (int i = 0; i < 500; ++i) {
    RawChannel channel = {
        {full() * 0x1p45 + 0x1p97, full() * 0x1p-8, -full() * 0x1p-61}, {}, 1};
    const Rational square = channel.S() * channel.S();
    const Rational wanted =
        (square + square * truth::PowerOfTwo(-40 - i % 18)) / count;
    const mpz_class integer(wanted);
    channel.squares = LimbsOf(Rational(integer));
    channels.push_back(channel);
  }
  const FastStatistics fast(Raw(channels, count), channels.size(), 0);
  EXPECT_GE(Count(fast.certain), 499);
  for (std::size_t c = 0; c < channels.size(); ++c) {
    if (fast.certain[c] == 0) continue;
    const Rational mean = channels[c].S() / count;
    const Rational var = channels[c].Q() / count - mean * mean;
    ASSERT_EQ(fast.values.var[c], Nearest(var)) << c;
  }
}

// 2^35 is the product of second and third limbs, and all there is of M.
TEST_P(FastFinishLimbsTest, WhatThirdLimbsDropIsNotTakenForNothing) {
  const RawChannel channel = {
      {0x1p98, 0x1p44, -0x1p-10}, {0x1p196, 0x1p143, -0x1p88}, 1};
  ASSERT_TRUE(channel.Q() > channel.S() * channel.S());
  EXPECT_EQ(FastStatistics(Raw({channel}, 1), 1, 1e-5).certain[0], 0);
}

// Whatever the rest of the squares is: certain is only what it cannot change.
TEST_P(FastFinishLimbsTest, WhatIsCertainDoesNotDependOnTheRest) {
  Random random(29);
  std::vector<RawChannel> channels;
  channels.reserve(4000);
  for (int i = 0; i < 4000; ++i) {
    channels.push_back(
        {{RandomLimb(25, random), 0, 0},
         {std::ldexp(1.0 + static_cast<double>(random() >> 12), 120),
          RandomLimb(60, random), 0},
         1,
         std::ldexp(1.0, static_cast<int>(i % 80))});
  }
  const std::int64_t count = 12345;
  const FastStatistics fast(Raw(channels, count), channels.size(), 0);
  std::size_t certain = 0;
  for (std::size_t c = 0; c < channels.size(); ++c) {
    if (fast.certain[c] == 0) continue;
    ++certain;
    const Rational mean = channels[c].S() / count;
    for (const double rest : {-channels[c].rest, channels[c].rest}) {
      const Rational squares = channels[c].Q() + Exact(rest);
      const Rational var = squares / count - mean * mean;
      ASSERT_EQ(fast.values.var[c], Nearest(var)) << c;
      ASSERT_EQ(fast.values.inv_std[c], NearestSqrt(1 / var)) << c;
    }
  }
  EXPECT_GT(certain, channels.size() / 2);
  EXPECT_LT(certain, channels.size());
}

// The same backward: N against rationals.
TEST_P(FastFinishLimbsTest, LimbsOfGradientsAreAddedUp) {
  Random random(26);
  const std::size_t channels = 2000;
  const std::int64_t count = 777;
  const double eps = 0.25;
  const RawChannel x = {
      {0x1p60, 12345, 0x1p-90}, {0x1p140, -0x1p80, 3}, 0x1p-60};
  std::vector<RawChannel> dy;
  for (std::size_t c = 0; c < channels; ++c) {
    const double unit = std::ldexp(1.0, static_cast<int>(c % 50) - 40);
    dy.push_back({{RandomLimb(20, random), RandomLimb(40, random),
                   c % 3 == 0 ? RandomLimb(100, random) : 0},
                  {RandomLimb(60, random), RandomLimb(50, random),
                   RandomLimb(80, random)},
                  unit});
  }
  const Rational n = count;
  const Rational mean = x.S() / n;
  const Rational denominator = x.Q() / n - mean * mean + Exact(eps);
  const FastGradients fast(Raw(std::vector(channels, x), count),
                           RawGradients(dy), channels, eps);
  EXPECT_EQ(Count(fast.certain), channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const Rational projection = dy[c].Q() - mean * dy[c].S();
    const Rational square = projection * projection / denominator;
    ASSERT_EQ(std::abs(fast.values.dgamma[c]), NearestSqrt(square));
    ASSERT_EQ(fast.values.dgamma[c] < 0, projection < 0);
    ASSERT_EQ(fast.values.k[c], Nearest(projection / n / denominator));
    ASSERT_EQ(fast.values.dbeta[c], Nearest(dy[c].S()));
    ASSERT_EQ(fast.values.mean_dy[c], Nearest(dy[c].S() / n));
    ASSERT_EQ(fast.values.mean_dy_lo[c],
              Nearest(dy[c].S() / n - Exact(fast.values.mean_dy[c])));
  }
}

// Channels with var = 2^110 + 2^57 + rest, in units of 2^-120. The doubles
// around are 2^58 apart.
std::vector<RawChannel> NearMidpoints(double n) {
  std::vector<RawChannel> channels;
  for (const double rest : {0.0, 1.0, -1.0, 0x1p10, 0x1p20, -0x1p20}) {
    channels.push_back({{0, 0}, {n * 0x1p110, n * 0x1p57, n * rest}, 0x1p-60});
  }
  return channels;
}

TEST_P(FastFinishLimbsTest, NearAMidpointNothingIsCertainButTheMidpointItself) {
  const std::vector<RawChannel> channels = NearMidpoints(3);
  const FastStatistics fast(Raw(channels, 3), channels.size(), 1e-5);
  EXPECT_EQ(fast.certain, (Certain{1, 0, 0, 0, 1, 1}));
  EXPECT_EQ(fast.values.var[0], 0x1p-10);
  EXPECT_EQ(fast.values.var[4], 0x1p-10 + 0x1p-62);
  EXPECT_EQ(fast.values.var[5], 0x1p-10);
}

// Where two doubles hold the dividend, that is.
TEST_P(FastFinishLimbsTest,
       QuotientsByAPowerOfTwoAreCertainHoweverNearAMidpoint) {
  for (const int n : {1, 4, 1 << 20}) {
    const std::vector<RawChannel> channels = NearMidpoints(n);
    const FastStatistics fast(Raw(channels, n), channels.size(), 1e-5);
    EXPECT_EQ(fast.certain, (Certain{1, 0, 0, 1, 1, 1})) << n;
    EXPECT_EQ(fast.values.var[0], 0x1p-10) << n;
    EXPECT_EQ(fast.values.var[3], 0x1p-10 + 0x1p-62) << n;
    EXPECT_EQ(fast.values.var[4], 0x1p-10 + 0x1p-62) << n;
    EXPECT_EQ(fast.values.var[5], 0x1p-10) << n;
  }
}

// S = s + 1, Q = S^2 + 5: everything but the last digit cancels.
TEST_P(FastFinishLimbsTest, CancellationLeavesTheExactVariance) {
  std::vector<RawChannel> channels;
  for (int e = 2; e <= 99; ++e) {
    const double s = std::ldexp(1.0, e);
    channels.push_back({{s, 1}, {s * s, 2 * s, 6}, 1});
    channels.push_back({{s, 1}, {s * s, 2 * s, 1}, 1});
  }
  const FastStatistics fast(Raw(channels, 1), channels.size(), 1e-5);
  for (std::size_t c = 0; c < channels.size(); ++c) {
    EXPECT_EQ(fast.certain[c], 1);
    EXPECT_EQ(fast.values.var[c], c % 2 == 0 ? 5 : 0);
  }
}

}  // namespace
}  // namespace batchnorm::kernel
