// Comparing tensors, on examples small enough to compute by hand.
#include "client/cli/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using ::testing::ElementsAre;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kUlp = 0x1p-23;  // of f32 at 1

// True values with magnitude 1 and the same slack for each.
class ComparisonTest : public ::testing::Test {
 protected:
  Comparison CompareAs(Dtype dtype, const std::vector<double>& theirs,
                       const Tolerance& tolerance = {}) {
    Expected expected;
    expected.shape = {static_cast<std::int64_t>(truth_.size())};
    expected.values = truth_;
    expected.magnitude = [](std::size_t) { return 1.0; };
    expected.slack = [this](std::size_t) { return slack_; };
    return Compare(
        MakeTensor(dtype, theirs, {static_cast<std::int64_t>(theirs.size())}),
        expected, tolerance);
  }
  Comparison CompareF32(const std::vector<double>& theirs,
                        const Tolerance& tolerance = {}) {
    return CompareAs(Dtype::kF32, theirs, tolerance);
  }

  std::vector<double> truth_ = {1, -2, 0.5};
  double slack_ = 0;
};

TEST_F(ComparisonTest, IdenticalValuesPass) {
  const Comparison result = CompareF32({1, -2, 0.5});
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.elements, 3);
  EXPECT_EQ(result.identical, 3);
  EXPECT_EQ(result.max_abs, 0);
  EXPECT_EQ(result.worst_of_bound, 0);
}

TEST_F(ComparisonTest, MeasuresAbsoluteRelativeAndUlpErrors) {
  const Comparison result = CompareF32({1 + 2 * kUlp, -2 - 4 * kUlp, 0.5});
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.max_abs, 4 * kUlp);
  EXPECT_EQ(result.max_rel, 2 * kUlp);
  EXPECT_EQ(result.max_ulp, 4);
  EXPECT_EQ(result.identical, 1);
}

TEST_F(ComparisonTest, TheBoundIsFourUlpOfTheMagnitude) {
  EXPECT_TRUE(CompareF32({1 + 4 * kUlp, -2, 0.5}).pass);
  const Comparison result = CompareF32({1 + 5 * kUlp, -2, 0.5});
  EXPECT_FALSE(result.pass);
  EXPECT_EQ(result.failed, 1);
  EXPECT_EQ(result.worst_of_bound, 1.25);
}

TEST_F(ComparisonTest, TheWorstElementIsNamedWithBothValues) {
  const Comparison result = CompareF32({1 + kUlp, -2, 0.5 + 3 * kUlp});
  EXPECT_THAT(result.worst_index, ElementsAre(2));
  EXPECT_EQ(result.worst, 0.5 + 3 * kUlp);
  EXPECT_EQ(result.worst_true, 0.5);
  EXPECT_EQ(result.worst_of_bound, 0.75);
}

TEST_F(ComparisonTest, SlackIsAddedToTheBoundUnlessTurnedOff) {
  slack_ = 4 * kUlp;
  const std::vector<double> off_by_eight = {1 + 8 * kUlp, -2, 0.5};
  EXPECT_TRUE(CompareF32(off_by_eight).pass);
  EXPECT_FALSE(CompareF32(off_by_eight, {.with_slack = false}).pass);
}

TEST_F(ComparisonTest, UlpsCanBeChosen) {
  const std::vector<double> off_by_two = {1 + 2 * kUlp, -2, 0.5};
  EXPECT_FALSE(CompareF32(off_by_two, {.ulps = 1}).pass);
  EXPECT_TRUE(CompareF32(off_by_two, {.ulps = 2}).pass);
}

TEST_F(ComparisonTest, ZeroUlpsDemandTheTrueNumberItself) {
  truth_ = {0.1, 0.1, 0.1};
  EXPECT_FALSE(CompareF32({0.1, 0.1, 0.1}, {.ulps = 0}).pass);
  EXPECT_TRUE(CompareAs(Dtype::kF64, {0.1, 0.1, 0.1}, {.ulps = 0}).pass);
}

TEST_F(ComparisonTest, RelativeToleranceTakesThePlaceOfTheBound) {
  slack_ = 1;
  Tolerance tolerance;
  tolerance.relative = Tolerance::Relative{.rtol = 0x1p-10, .atol = 0};
  EXPECT_TRUE(CompareF32({1, -2 - 0x1p-9, 0.5}, tolerance).pass);
  EXPECT_FALSE(CompareF32({1, -2, 0.5 + 0x1p-10}, tolerance).pass);
  tolerance.relative = Tolerance::Relative{.rtol = 0, .atol = 0x1p-10};
  EXPECT_TRUE(CompareF32({1, -2, 0.5 + 0x1p-10}, tolerance).pass);
  EXPECT_FALSE(CompareF32({1, -2 - 0x1p-9, 0.5}, tolerance).pass);
}

TEST_F(ComparisonTest, RelativeErrorLeavesOutTrueZeros) {
  truth_ = {0, 1, 1};
  const Comparison result = CompareF32({kUlp, 1, 1});
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.max_rel, 0);
  EXPECT_EQ(result.max_abs, kUlp);
}

TEST_F(ComparisonTest, IdenticalMeansTheTruthRoundedToTheirType) {
  truth_ = {0.1, 0.2, 0.3};
  const Comparison result = CompareAs(Dtype::kBF16, {0.1, 0.2, 0.3});
  EXPECT_EQ(result.identical, 3);
  EXPECT_GT(result.max_abs, 0);
}

TEST_F(ComparisonTest, NanAndInfinitiesMatchTheirLikes) {
  truth_ = {kNan, kInfinity, -kInfinity};
  const Comparison result = CompareF32({kNan, kInfinity, -kInfinity});
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.nonfinite, 3);
  EXPECT_EQ(result.true_nonfinite, 3);
  EXPECT_EQ(result.identical, 3);
}

TEST_F(ComparisonTest, NanWhereTheTruthIsANumberFailsUnderEveryBound) {
  Tolerance loose;
  loose.relative = Tolerance::Relative{.rtol = 1e300, .atol = 1e300};
  for (const double wrong : {kNan, kInfinity, -kInfinity}) {
    const Comparison result = CompareF32({1, wrong, 0.5}, loose);
    EXPECT_FALSE(result.pass) << wrong;
    EXPECT_EQ(result.failed, 1);
    EXPECT_THAT(result.worst_index, ElementsAre(1));
    EXPECT_EQ(result.nonfinite, 1);
    EXPECT_EQ(result.true_nonfinite, 0);
    EXPECT_EQ(result.worst_of_bound, kInfinity);
  }
}

TEST_F(ComparisonTest, ANumberWhereTheTruthIsNanOrInfiniteFails) {
  for (const double truth : {kNan, kInfinity}) {
    truth_ = {1, truth, 0.5};
    EXPECT_FALSE(CompareF32({1, -2, 0.5}).pass) << truth;
  }
  truth_ = {1, kInfinity, 0.5};
  EXPECT_FALSE(CompareF32({1, -kInfinity, 0.5}).pass);
}

TEST_F(ComparisonTest, ATrueValueBeyondTheirRangeIsTheInfinityItRoundsTo) {
  truth_ = {1e5, 1, 1};
  EXPECT_TRUE(CompareAs(Dtype::kF16, {kInfinity, 1, 1}).pass);
  EXPECT_FALSE(CompareAs(Dtype::kF16, {65504, 1, 1}).pass);
}

TEST_F(ComparisonTest, AnotherShapeIsAProblemAndNotAMeasurement) {
  const Comparison result = CompareF32({1, -2});
  EXPECT_FALSE(result.pass);
  EXPECT_EQ(result.problem, "shape [2], expected [3]");
  EXPECT_EQ(result.elements, 0);
}

TEST_F(ComparisonTest, NoElementsPass) {
  truth_ = {};
  const Comparison result = CompareF32({});
  EXPECT_TRUE(result.pass);
  EXPECT_THAT(result.worst_index, ElementsAre());
}

TEST(CompareTest, VectorsWithOneValueAChannelMayHaveAnyShape) {
  const std::vector<double> truth = {1, 2};
  Expected expected;
  expected.shape = {2};
  expected.values = truth;
  expected.magnitude = [](std::size_t) { return 1.0; };
  expected.slack = [](std::size_t) { return 0.0; };
  expected.per_channel = true;
  EXPECT_TRUE(
      Compare(MakeTensor(truth, {1, 2, 1, 1}), expected, Tolerance()).pass);
  EXPECT_EQ(Compare(MakeTensor(truth, {2, 0}), expected, Tolerance()).problem,
            "shape [2,0], expected 2 values, one a channel");
}

TEST(CompareTest, TheWorstIndexHasTheTensorsDimensions) {
  const std::vector<double> truth(12, 1.0);
  std::vector<double> theirs = truth;
  theirs[7] = 2;
  Expected expected;
  expected.shape = {2, 3, 2};
  expected.values = truth;
  expected.magnitude = [](std::size_t) { return 1.0; };
  expected.slack = [](std::size_t) { return 0.0; };
  const Comparison result =
      Compare(MakeTensor(theirs, {2, 3, 2}), expected, Tolerance());
  EXPECT_THAT(result.worst_index, ElementsAre(1, 0, 1));
}

}  // namespace
}  // namespace batchnorm::cli
