// Units in the last place, from the definitions of the formats.
#include "client/cli/precision.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace batchnorm::cli {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(UlpTest, AtOneItIsTheEpsilonOfTheFormat) {
  EXPECT_EQ(Epsilon(Dtype::kF16), 0x1p-10);
  EXPECT_EQ(Epsilon(Dtype::kBF16), 0x1p-7);
  EXPECT_EQ(Epsilon(Dtype::kF32), 0x1p-23);
  EXPECT_EQ(Epsilon(Dtype::kF64), 0x1p-52);
}

TEST(UlpTest, DoublesAtPowersOfTwoAndIgnoresTheSign) {
  EXPECT_EQ(Ulp(1.999, Dtype::kF32), 0x1p-23);
  EXPECT_EQ(Ulp(-2, Dtype::kF32), 0x1p-22);
  EXPECT_EQ(Ulp(0.999, Dtype::kF32), 0x1p-24);
}

TEST(UlpTest, NeverFallsBelowTheSmallestSubnormal) {
  EXPECT_EQ(Ulp(0, Dtype::kF16), 0x1p-24);
  EXPECT_EQ(Ulp(1e-300, Dtype::kBF16), 0x1p-133);
  EXPECT_EQ(Ulp(1e-45, Dtype::kF32), 0x1p-149);
  EXPECT_EQ(Ulp(0, Dtype::kF64), 5e-324);
}

TEST(RoundedTest, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(Rounded(1 + 0x1p-11, Dtype::kF16), 1);
  EXPECT_EQ(Rounded(1 + 3 * 0x1p-11, Dtype::kF16), 1 + 0x1p-9);
  EXPECT_EQ(Rounded(1 + 0x1.8p-24, Dtype::kF32), 1 + 0x1p-23);
  EXPECT_EQ(Rounded(0.1, Dtype::kF32), static_cast<double>(0.1F));
}

TEST(RoundedTest, OverflowsWhereTheFormatDoes) {
  EXPECT_EQ(Rounded(65519.999, Dtype::kF16), 65504);
  EXPECT_EQ(Rounded(65520, Dtype::kF16), kInfinity);
  EXPECT_EQ(Rounded(-1e39, Dtype::kF32), -kInfinity);
  EXPECT_EQ(Rounded(1e308, Dtype::kF64), 1e308);
}

TEST(RoundedTest, SubnormalsKeepTheirCoarseSteps) {
  EXPECT_EQ(Rounded(1.4 * 0x1p-24, Dtype::kF16), 0x1p-24);
  EXPECT_EQ(Rounded(0.5 * 0x1p-24, Dtype::kF16), 0);
  EXPECT_EQ(Rounded(0.7e-45, Dtype::kF32), 0);
}

TEST(RoundedTest, NanStaysNan) {
  EXPECT_TRUE(std::isnan(Rounded(std::nan(""), Dtype::kBF16)));
}

}  // namespace
}  // namespace batchnorm::cli
