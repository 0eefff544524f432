// All 65,536 codes of both formats. Decoding is compared with the compiler's
// own types; encoding with the definition of rounding: each number, each
// midpoint between neighbours, and the doubles next to a midpoint.
#include "proto/wire/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace batchnorm {
namespace {

double CompilersF16(std::uint16_t bits) {
  return static_cast<double>(std::bit_cast<_Float16>(bits));
}

double UpperHalfOfAFloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

struct Format {
  double (*decode)(std::uint16_t);
  std::uint16_t (*encode)(double);
  double (*truth)(std::uint16_t);
  std::uint16_t infinity;
  std::uint16_t quiet_nan;
};

class Float16Test : public ::testing::TestWithParam<Format> {
 protected:
  std::uint16_t Encode(double value) const { return GetParam().encode(value); }
  double Truth(int code) const {
    return GetParam().truth(static_cast<std::uint16_t>(code));
  }
};

TEST_P(Float16Test, DecodesEveryCode) {
  for (int code = 0; code < 0x10000; ++code) {
    const double value = GetParam().decode(static_cast<std::uint16_t>(code));
    const double truth = Truth(code);
    ASSERT_EQ(std::isnan(value), std::isnan(truth)) << code;
    if (std::isnan(truth)) continue;
    ASSERT_EQ(value, truth) << code;
    ASSERT_EQ(std::signbit(value), std::signbit(truth)) << code;
  }
}

TEST_P(Float16Test, EncodesEveryNumberAsItself) {
  for (int code = 0; code <= GetParam().infinity; ++code) {
    ASSERT_EQ(Encode(Truth(code)), code);
    ASSERT_EQ(Encode(-Truth(code)), code | 0x8000);
  }
}

TEST_P(Float16Test, RoundsToNearestAndTiesToEven) {
  for (int code = 0; code + 1 < GetParam().infinity; ++code) {
    const double midpoint = (Truth(code) + Truth(code + 1)) / 2;
    const int even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(Encode(midpoint), even);
    ASSERT_EQ(Encode(-midpoint), even | 0x8000);
    ASSERT_EQ(Encode(std::nextafter(midpoint, 0)), code);
    ASSERT_EQ(Encode(std::nextafter(midpoint, HUGE_VAL)), code + 1);
  }
}

TEST_P(Float16Test, OverflowsHalfAStepAboveTheLargest) {
  const int largest = GetParam().infinity - 1;
  const double step = Truth(largest) - Truth(largest - 1);
  const double limit = Truth(largest) + step / 2;
  EXPECT_EQ(Encode(std::nextafter(limit, 0)), largest);
  EXPECT_EQ(Encode(limit), GetParam().infinity);
  EXPECT_EQ(Encode(std::numeric_limits<double>::max()), GetParam().infinity);
  EXPECT_EQ(Encode(-HUGE_VAL), GetParam().infinity | 0x8000);
}

TEST_P(Float16Test, TheSmallestDoubleIsZeroWithItsSign) {
  const double smallest = std::numeric_limits<double>::denorm_min();
  EXPECT_EQ(Encode(smallest), 0);
  EXPECT_EQ(Encode(-smallest), 0x8000);
  EXPECT_EQ(Encode(-0.0), 0x8000);
}

TEST_P(Float16Test, NaNIsTheQuietOneOfItsSign) {
  EXPECT_EQ(Encode(std::nan("")), GetParam().quiet_nan);
  EXPECT_EQ(Encode(-std::nan("123")), GetParam().quiet_nan | 0x8000);
}

INSTANTIATE_TEST_SUITE_P(F16, Float16Test,
                         ::testing::Values(Format{DecodeF16, EncodeF16,
                                                  CompilersF16, 0x7C00,
                                                  0x7E00}));
INSTANTIATE_TEST_SUITE_P(BF16, Float16Test,
                         ::testing::Values(Format{DecodeBF16, EncodeBF16,
                                                  UpperHalfOfAFloat, 0x7F80,
                                                  0x7FC0}));

}  // namespace
}  // namespace batchnorm
