// The demo's own layers against numerical differentiation and closed forms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "client/cli/demo_network.h"

namespace batchnorm::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::FloatNear;
using ::testing::Pointwise;

Matrix Random(std::size_t rows, std::size_t columns, DemoRandom& random) {
  Matrix matrix(rows, columns);
  for (float& v : matrix.values) v = static_cast<float>(random.Symmetric());
  return matrix;
}

double Weighted(const Matrix& y, const Matrix& weights) {
  double sum = 0;
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    sum += static_cast<double>(y.values[i]) * weights.values[i];
  }
  return sum;
}

// d loss / d value, for each value, by central differences.
std::vector<float> Numerical(std::vector<float>& values,
                             const std::function<double()>& loss) {
  constexpr float kStep = 1.0F / 64;
  std::vector<float> gradient;
  for (float& value : values) {
    const float kept = value;
    value = kept + kStep;
    const double above = loss();
    value = kept - kStep;
    const double below = loss();
    value = kept;
    gradient.push_back(static_cast<float>((above - below) / (2 * kStep)));
  }
  return gradient;
}

TEST(DenseTest, GradientsAreThoseOfItsForward) {
  DemoRandom random(3);
  Dense dense(5, 4, Bias::kTrained, random);
  Matrix x = Random(3, 5, random);
  const Matrix dy = Random(3, 4, random);
  const Matrix dx = dense.Backward(x, dy);
  const auto loss = [&] { return Weighted(dense.Forward(x), dy); };
  EXPECT_THAT(dx.values,
              Pointwise(FloatNear(1e-4F), Numerical(x.values, loss)));
  for (Parameter* p : dense.parameters()) {
    EXPECT_THAT(p->gradient,
                Pointwise(FloatNear(1e-4F), Numerical(p->value, loss)));
  }
}

TEST(DenseTest, WithoutBiasZeroGivesZero) {
  DemoRandom random(3);
  const Dense dense(2, 3, Bias::kNone, random);
  EXPECT_THAT(dense.Forward(Matrix(1, 2)).values, ElementsAre(0, 0, 0));
}

TEST(ReluTest, PassesGradientsWhereItsInputIsPositive) {
  Matrix x(1, 3);
  x.values = {-1, 0, 2};
  Matrix dy(1, 3);
  dy.values = {5, 6, 7};
  EXPECT_THAT(Relu(x).values, ElementsAre(0, 0, 2));
  EXPECT_THAT(ReluBackward(x, dy).values, ElementsAre(0, 0, 7));
}

TEST(SoftmaxCrossEntropyTest, EqualLogitsLoseTheLogarithmOfTheirNumber) {
  EXPECT_NEAR(SoftmaxCrossEntropy(Matrix(2, 10), {3, 4}).mean, std::log(10.0),
              1e-12);
}

TEST(SoftmaxCrossEntropyTest, GradientIsThatOfTheMean) {
  DemoRandom random(5);
  Matrix logits = Random(3, 4, random);
  const std::vector<std::int32_t> labels = {0, 3, 1};
  const auto loss = [&] { return SoftmaxCrossEntropy(logits, labels).mean; };
  EXPECT_THAT(SoftmaxCrossEntropy(logits, labels).gradient.values,
              Pointwise(FloatNear(1e-4F), Numerical(logits.values, loss)));
}

TEST(SoftmaxCrossEntropyTest, LargeLogitsStayFinite) {
  Matrix logits(1, 2);
  logits.values = {1e4F, -1e4F};
  EXPECT_EQ(SoftmaxCrossEntropy(logits, {0}).mean, 0);
  EXPECT_EQ(SoftmaxCrossEntropy(logits, {1}).mean, 2e4);
}

TEST(CountCorrectTest, CountsRowsWhoseLargestLogitIsTheLabel) {
  Matrix logits(3, 2);
  logits.values = {1, 2, 4, 3, 0, 9};
  EXPECT_EQ(CountCorrect(logits, {1, 1, 1}), 2U);
}

TEST(AdamTest, TheFirstStepIsTheLearningRateAgainstTheGradientsSign) {
  Parameter p(2, 1);
  p.gradient = {4, -0.25};
  Adam().Step(0.125, {&p});
  EXPECT_THAT(p.value, ElementsAre(FloatEq(0.875F), FloatEq(1.125F)));
}

TEST(DemoRandomTest, TheEngineIsTheStandards) {
  // [rand.predef]: the 10,000th number of a default-seeded mt19937_64.
  std::mt19937_64 engine(5489);
  engine.discard(9999);
  EXPECT_EQ(engine(), 9981545732273789042U);
  std::mt19937_64 same(5489);
  EXPECT_EQ(DemoRandom(5489).Below(1000), same() % 1000);
}

TEST(DemoRandomTest, APermutationHasEachNumberOnce) {
  auto order = DemoRandom(8).Permutation(100);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace batchnorm::cli
