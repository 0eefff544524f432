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

TEST_P(FastLimbsTest, ProductsAreAddedAsIntegers) {
  std::mt19937_64 random(4);
  std::uniform_int_distribution<int> bits(0, 53);
  for (std::size_t size = 1; size <= kHalvesChannels; ++size) {
    Halves integers;
    std::vector<Wide> expected(size);
    for (int row = 0; row < 20; ++row) {
      const int scale = std::uniform_int_distribution(-60, 60)(random);
      std::vector<double> limbs(size);
      for (std::size_t i = 0; i < size; ++i) {
        const int width = bits(random);
        const std::uint64_t magnitude =
            width == 0 ? 0 : random() >> (64 - width);
        const int shift = std::uniform_int_distribution(0, 64)(random);
        const Wide integer = Wide{static_cast<std::int64_t>(magnitude)}
                             << shift;
        const bool negative = random() % 2 == 0;
        expected[i] += negative ? -integer : integer;
        const double value =
            std::ldexp(static_cast<double>(magnitude), shift - scale);
        limbs[i] = negative ? -value : value;
      }
      AddLimbs(Misplaced(limbs), size, std::ldexp(1.0, scale), integers);
    }
    for (std::size_t i = 0; i < size; ++i) {
      const Wide high = Wide{integers.high[i]} << kLimbLowBits;
      ASSERT_TRUE(high + integers.low[i] == expected[i]);
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
