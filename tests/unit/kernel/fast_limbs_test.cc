// What is done to rows of limbs in lanes is what it is one by one, on every
// target, for every length and at every address.
#include "server/kernel/fast_limbs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "server/kernel/decoded_double.h"
#include "server/kernel/exact_sum.h"
#include "server/kernel/sum_limbs.h"
#include "tests/unit/kernel/forced_target.h"

namespace batchnorm::kernel {
namespace {

using Wide = ExactSum::Wide;

class FastLimbsTest : public testing::TestWithParam<std::int64_t> {
 protected:
  // The limbs' bytes, at an address that is no multiple of anything.
  const std::byte* Misplaced(const std::vector<double>& limbs) {
    bytes_.resize(limbs.size() * sizeof(double) + 1);
    std::memcpy(bytes_.data() + 1, limbs.data(), limbs.size() * sizeof(double));
    return bytes_.data() + 1;
  }

 private:
  ForcedTarget target_{GetParam()};
  std::vector<std::byte> bytes_;
};

// 2^e, of the greatest e that the value is a multiple of.
double LowestBit(double value) {
  const DecodedDouble decoded = Decode(value);
  return std::ldexp(1.0,
                    decoded.exponent + std::countr_zero(decoded.magnitude));
}

TEST_P(FastLimbsTest, TheRangeIsThatOfTheLimbsThatAreNotZero) {
  std::mt19937_64 random(3);
  std::uniform_int_distribution<int> exponent(-1074, 900);
  std::uniform_int_distribution<int> bits(1, 53);
  for (std::size_t size = 1; size <= 70; ++size) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::vector<double> limbs(size);
      double lowest = std::numeric_limits<double>::infinity();
      double greatest = 0;
      for (double& limb : limbs) {
        if (random() % 4 == 0) continue;
        // From one bit, a power of two, to all.
        const auto odd =
            static_cast<double>(random() >> (64 - bits(random)) | 1);
        limb = std::ldexp(random() % 2 == 0 ? odd : -odd, exponent(random));
        lowest = std::min(lowest, LowestBit(limb));
        greatest = std::max(greatest, std::abs(limb));
      }
      const LimbRange range = RangeOfLimbs(Misplaced(limbs), size);
      ASSERT_EQ(std::bit_cast<double>(range.greatest), greatest);
      if (greatest == 0) continue;
      ASSERT_EQ(std::bit_cast<double>(range.lowest_bit), lowest);
    }
  }
}

TEST_P(FastLimbsTest, NoNumberIsGreaterThanAll) {
  for (const double none : {std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN()}) {
    for (std::size_t at = 0; at < 17; ++at) {
      std::vector<double> limbs(17, -1e308);
      limbs[at] = none;
      const LimbRange range = RangeOfLimbs(Misplaced(limbs), limbs.size());
      EXPECT_FALSE(IsFiniteDouble(std::bit_cast<double>(range.greatest)));
    }
  }
}

// Of up to 53 bits, and less than 2^end units.
Wide SomeInteger(std::mt19937_64& random, int end) {
  const int width = std::uniform_int_distribution(0, 53)(random);
  const std::uint64_t magnitude = width == 0 ? 0 : random() >> (64 - width);
  const int shift = std::uniform_int_distribution(0, end - width)(random);
  const Wide integer = Wide{static_cast<std::int64_t>(magnitude)} << shift;
  return random() % 2 == 0 ? integer : -integer;
}

double Scaled(Wide integer, int unit) {
  return std::ldexp(static_cast<double>(integer), unit);
}

Wide IntegerOf(const Halves& halves, std::size_t i) {
  return (Wide{halves.high[i]} << kLimbLowBits) + halves.low[i];
}

TEST_P(FastLimbsTest, ProductsAreAddedAsIntegers) {
  std::mt19937_64 random(4);
  for (std::size_t size = 1; size <= kHalvesChannels; ++size) {
    Halves integers;
    std::vector<Wide> expected(size);
    for (int row = 0; row < 20; ++row) {
      const int scale = std::uniform_int_distribution(-60, 60)(random);
      std::vector<double> limbs(size);
      for (std::size_t i = 0; i < size; ++i) {
        const Wide integer = SomeInteger(random, kLimbsRoom - kLimbsBits);
        expected[i] += integer;
        limbs[i] = Scaled(integer, -scale);
      }
      AddLimbs(Misplaced(limbs), size, std::ldexp(1.0, scale), integers);
    }
    for (std::size_t i = 0; i < size; ++i) {
      ASSERT_TRUE(IntegerOf(integers, i) == expected[i]);
    }
  }
}

TEST_P(FastLimbsTest, SmallIntegersAreAddedWithoutALookAtTheirRange) {
  std::mt19937_64 random(5);
  for (const int unit : {-kMaxQuickUnit, -300, 0, 17, kMaxQuickUnit}) {
    for (std::size_t size = 1; size <= kHalvesChannels; ++size) {
      Halves integers;
      std::vector<Wide> expected(size);
      for (int row = 0; row < 20; ++row) {
        std::vector<double> limbs(size);
        for (std::size_t i = 0; i < size; ++i) {
          Wide integer = SomeInteger(random, kQuickBits);
          if (random() % 16 == 0) integer = Wide{1} << kQuickBits;
          if (random() % 16 == 0) integer = -(Wide{1} << kQuickBits);
          expected[i] += integer;
          limbs[i] = Scaled(integer, unit);
        }
        ASSERT_TRUE(AddLimbsQuickly(Misplaced(limbs), size, unit, integers));
      }
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_TRUE(IntegerOf(integers, i) == expected[i]);
      }
    }
  }
}

TEST_P(FastLimbsTest, WhatIsNoSmallIntegerIsNotAddedWithoutALook) {
  constexpr double kLeast = std::numeric_limits<double>::denorm_min();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::mt19937_64 random(6);
  for (const int unit : {-kMaxQuickUnit, 0, kMaxQuickUnit}) {
    const double none[] = {
        Scaled(1, unit - 1),
        -Scaled(3, unit - 1),
        Scaled((Wide{1} << 52) + 1, unit - 1),
        Scaled(1, unit - 60),
        kLeast,
        -kLeast,
        std::nextafter(Scaled(1, unit + kQuickBits), kInfinity),
        -Scaled(1, unit + kQuickBits + 1),
        std::numeric_limits<double>::max(),
        kInfinity,
        -kInfinity,
        std::numeric_limits<double>::quiet_NaN()};
    for (const double value : none) {
      for (std::size_t size = 1; size <= 17; ++size) {
        std::vector<double> limbs(size);
        for (double& limb : limbs) {
          limb = Scaled(SomeInteger(random, kQuickBits), unit);
        }
        limbs[random() % size] = value;
        Halves integers;
        EXPECT_FALSE(AddLimbsQuickly(Misplaced(limbs), size, unit, integers))
            << value << " in units of 2^" << unit << " among " << size;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FastLimbsTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& each) {
                           return hwy::TargetName(each.param);
                         });

}  // namespace
}  // namespace batchnorm::kernel
