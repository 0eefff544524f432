// The 16-bit formats against their definition, all patterns; narrowing against
// exact midpoints.
#include "server/kernel/float_formats.h"

#include <gtest/gtest.h>
#include <mpfr.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace batchnorm::kernel {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Format {
  const char* name;
  int fraction_bits;
  int exponent_bits;
  double (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(double);

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  std::uint16_t infinity() const {
    return static_cast<std::uint16_t>(((1 << exponent_bits) - 1)
                                      << fraction_bits);
  }
  std::uint16_t nan() const {
    return static_cast<std::uint16_t>(infinity() | 1 << (fraction_bits - 1));
  }
};

const Format kFormats[] = {
    {"f16", 10, 5, [](std::uint16_t bits) { return WidenF16(bits); },
     NarrowToF16},
    {"bf16", 7, 8, [](std::uint16_t bits) { return WidenBF16(bits); },
     NarrowToBF16},
};

// IEEE 754-2019, 3.4.
double Defined(const Format& format, std::uint16_t bits) {
  const int exponent = (bits & 0x7fff) >> format.fraction_bits;
  const int fraction = bits & ((1 << format.fraction_bits) - 1);
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << format.exponent_bits) - 1) {
    return fraction == 0 ? sign * kInfinity : kNan;
  }
  const int hidden = exponent == 0 ? 0 : 1 << format.fraction_bits;
  return sign *
         std::ldexp(fraction + hidden, std::max(exponent, 1) - format.bias() -
                                           format.fraction_bits);
}

void ExpectSame(double actual, double expected) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(actual));
  } else {
    ASSERT_EQ(std::bit_cast<std::uint64_t>(actual),
              std::bit_cast<std::uint64_t>(expected));
  }
}

TEST(FloatFormatsTest, EveryPatternWidensToItsDefinition) {
  for (const Format& format : kFormats) {
    for (int bits = 0; bits <= 0xffff; ++bits) {
      const auto pattern = static_cast<std::uint16_t>(bits);
      ExpectSame(format.widen(pattern), Defined(format, pattern));
    }
  }
}

TEST(FloatFormatsTest, EveryNumberNarrowsToItself) {
  for (const Format& format : kFormats) {
    for (int bits = 0; bits <= 0xffff; ++bits) {
      const auto pattern = static_cast<std::uint16_t>(bits);
      const double value = Defined(format, pattern);
      const std::uint16_t expected = std::isnan(value) ? format.nan() : pattern;
      ASSERT_EQ(format.narrow(value), expected) << format.name;
    }
  }
}

// All midpoints, and the nearest doubles on both sides of each, decide every
// case of rounding to nearest.
TEST(FloatFormatsTest, EveryMidpointNarrowsToEvenAndItsSidesToTheNearer) {
  for (const Format& format : kFormats) {
    for (int bits = 0; bits < format.infinity(); ++bits) {
      const auto below = static_cast<std::uint16_t>(bits);
      const auto above = static_cast<std::uint16_t>(bits + 1);
      const double low = Defined(format, below);
      // Above the largest number lies the power of two that would follow.
      const double high = above == format.infinity()
                              ? std::ldexp(1, (1 << (format.exponent_bits - 1)))
                              : Defined(format, above);
      const double middle = (low + high) / 2;
      const std::uint16_t even = bits % 2 == 0 ? below : above;
      ASSERT_EQ(format.narrow(middle), even);
      ASSERT_EQ(format.narrow(std::nextafter(middle, 0)), below);
      ASSERT_EQ(format.narrow(std::nextafter(middle, kInfinity)), above);
      ASSERT_EQ(format.narrow(-middle), even | 0x8000);
    }
  }
}

TEST(FloatFormatsTest, OutOfRangeNarrowsToInfinityAndTinyToSignedZero) {
  for (const Format& format : kFormats) {
    EXPECT_EQ(format.narrow(1e308), format.infinity());
    EXPECT_EQ(format.narrow(-1e308), format.infinity() | 0x8000);
    EXPECT_EQ(format.narrow(1e-300), 0);
    EXPECT_EQ(format.narrow(5e-324), 0);
    EXPECT_EQ(format.narrow(-5e-324), 0x8000);
    EXPECT_EQ(format.narrow(-0.0), 0x8000);
  }
}

TEST(FloatFormatsTest, EveryNanIsWrittenAsOnePattern) {
  const double negative = std::bit_cast<double>(0xfff8000000000001u);
  const double signaling = std::bit_cast<double>(0x7ff0000000000001u);
  for (const double nan : {kNan, negative, signaling}) {
    EXPECT_EQ(NarrowToF16(nan), 0x7e00);
    EXPECT_EQ(NarrowToBF16(nan), 0x7fc0);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(NarrowToF32(nan)), 0x7fc00000u);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(Canonical(nan)),
              0x7ff8000000000000u);
  }
}

float MpfrNarrow(double value) {
  mpfr_t exact;
  mpfr_init2(exact, 53);
  mpfr_set_d(exact, value, MPFR_RNDN);
  const float result = mpfr_get_flt(exact, MPFR_RNDN);
  mpfr_clear(exact);
  return result;
}

TEST(FloatFormatsTest, F32NarrowsAsMpfrDoes) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 300000; ++i) {
    // Exponents that f32 can hold, its subnormals and both outsides.
    const int exponent = static_cast<int>(random() % 300) - 170;
    const double digits = static_cast<double>(random() >> 11);
    double value = std::ldexp(random() % 2 ? digits : -digits, exponent - 52);
    if (i % 2)
      value = static_cast<double>(static_cast<float>(value)) * (1 + 0x1p-24);
    const float expected = MpfrNarrow(value);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(NarrowToF32(value)),
              std::bit_cast<std::uint32_t>(expected))
        << value;
  }
}

}  // namespace
}  // namespace batchnorm::kernel
