// The fused calls and the vectorised apply have the bits of the readable form,
// for every target, dtype, shape, alignment and number of threads.
#include "server/kernel/train.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "server/kernel/readable_apply.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/generated_values.h"
#include "tests/unit/kernel/placed_tensor.h"
#include "tests/unit/kernel/shapes.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

constexpr double kEps = 1e-5;
constexpr Degenerate kIeee = Degenerate::kIeee;

std::vector<double> Parameters(std::int64_t channels, Random& random) {
  return Generate(Generators().front(), static_cast<std::size_t>(channels),
                  random);
}

// What the readable form makes of a batch.
struct Readable {
  Readable(const ChannelLayout& layout, const TestTensor& x,
           const TestTensor& dy, const std::vector<double>& gamma,
           const std::vector<double>& beta)
      : y(x.dtype(), layout.size()), dx(x.dtype(), layout.size()) {
    const ForwardSums sums = SumsOf(layout, x);
    statistics = FinishForward(sums, kEps, kIeee);
    gradients = FinishBackward(sums, SumsOf(layout, x, dy), kEps, kIeee);
    readable::ApplyForward(layout, 0, x.view(), statistics, gamma, beta,
                           y.mutable_view());
    readable::ApplyBackward(layout, 0, x.view(), dy.view(), statistics,
                            gradients, gamma, dx.mutable_view());
  }

  Statistics statistics;
  Gradients gradients;
  TestTensor y;
  TestTensor dx;
};

class TrainTest
    : public testing::TestWithParam<std::tuple<std::int64_t, Dtype>> {
 protected:
  Dtype dtype() const { return std::get<1>(GetParam()); }

  void ExpectReadable(const Shape& shape, const Generator& generator,
                      Workers& workers) {
    SCOPED_TRACE(shape.Text() + ", " + generator.name);
    const ChannelLayout layout = shape.layout();
    const auto size = static_cast<std::size_t>(layout.size());
    const TestTensor x(dtype(), Generate(generator, size, random_));
    const TestTensor dy(dtype(), Generate(generator, size, random_));
    const auto gamma = Parameters(layout.channels(), random_);
    const auto beta = Parameters(layout.channels(), random_);
    const Readable expected(layout, x, dy, gamma, beta);

    const PlacedTensor placed_x(x, random_() % 8);
    const PlacedTensor placed_dy(dy, random_() % 8);
    PlacedTensor y(TestTensor(dtype(), layout.size()), random_() % 8);
    PlacedTensor dx(TestTensor(dtype(), layout.size()), random_() % 8);
    const TrainBatch batch =
        TrainForward(layout, placed_x.view(), kEps, kIeee, gamma, beta,
                     y.mutable_view(), workers);
    EXPECT_TRUE(SameBits(batch.statistics, expected.statistics));
    EXPECT_TRUE(y.HasBytesOf(expected.y));
    const Gradients gradients =
        TrainBackward(layout, placed_x.view(), placed_dy.view(), batch, kEps,
                      kIeee, gamma, dx.mutable_view(), workers);
    EXPECT_TRUE(SameBits(gradients, expected.gradients));
    EXPECT_TRUE(dx.HasBytesOf(expected.dx));
  }

  Random random_{11};

 private:
  ForcedTarget target_{std::get<0>(GetParam())};
};

TEST_P(TrainTest, HasTheReadableBitsForEveryShape) {
  std::size_t next = 0;
  for (const Shape& shape : EdgeShapes()) {
    ExpectReadable(shape, Generators()[next++ % Generators().size()],
                   Workers::Inline());
  }
}

TEST_P(TrainTest, HasTheReadableBitsForEveryKindOfData) {
  for (const Generator& generator : Generators()) {
    ExpectReadable({{50, 19}, {1}}, generator, Workers::Inline());
    ExpectReadable({{6, 5, 60}, {1}}, generator, Workers::Inline());
    ExpectReadable({{1100, 7}, {1}}, generator, Workers::Inline());
  }
}

TEST_P(TrainTest, HasTheReadableBitsForRandomShapes) {
  for (int trial = 0; trial < 30; ++trial) {
    ExpectReadable(RandomShape(3000, random_),
                   Generators()[random_() % Generators().size()],
                   Workers::Inline());
  }
}

TEST_P(TrainTest, HasTheReadableBitsForEveryNumberOfThreads) {
  for (const int threads : {2, 3}) {
    Workers workers(threads);
    for (const Shape& shape :
         {Shape{{3000, 40}, {1}}, Shape{{4, 30, 1000}, {1}},
          Shape{{40, 60, 49}, {1}}, Shape{{100, 3, 100, 2}, {1, 3}},
          // So many channels that each thread takes its own.
          Shape{{33, 1549}, {1}}}) {
      ExpectReadable(shape, Generators().front(), workers);
    }
  }
}

// Of running statistics, which say nothing about x.
TEST_P(TrainTest, InferenceHasTheReadableBits) {
  const ChannelLayout layout = Shape{{20, 9, 35}, {1}}.layout();
  const std::vector<double> mean = Parameters(9, random_);
  std::vector<double> var = Parameters(9, random_);
  for (double& v : var) v = std::abs(v);
  const Statistics running = FromRunning(mean, var, kEps, kIeee);
  const Gradients none = FinishInferenceBackward(
      BackwardSums(9, dtype(), dtype()), running, kEps, kIeee);
  const auto size = static_cast<std::size_t>(layout.size());
  for (const Generator& generator : Generators()) {
    const TestTensor x(dtype(), Generate(generator, size, random_));
    TestTensor expected(dtype(), layout.size());
    TestTensor actual(dtype(), layout.size());
    readable::ApplyForward(layout, 0, x.view(), running, mean, var,
                           expected.mutable_view());
    ApplyForward(layout, 0, x.view(), running, mean, var,
                 actual.mutable_view());
    EXPECT_EQ(actual, expected) << generator.name;
    readable::ApplyBackward(layout, 0, x.view(), x.view(), running, none, mean,
                            expected.mutable_view());
    ApplyBackward(layout, 0, x.view(), x.view(), running, none, mean,
                  actual.mutable_view());
    EXPECT_EQ(actual, expected) << generator.name;
  }
}

TEST_P(TrainTest, ApplyingInPlaceHasTheSameBits) {
  for (const Shape& shape : {Shape{{9, 37}, {1}}, Shape{{3, 5, 77}, {1}}}) {
    const ChannelLayout layout = shape.layout();
    const TestTensor x(
        dtype(), Generate(Generators().front(),
                          static_cast<std::size_t>(layout.size()), random_));
    const Statistics statistics = FinishForward(SumsOf(layout, x), kEps, kIeee);
    TestTensor in_place = x;
    ApplyForward(layout, 0, in_place.view(), statistics, {}, {},
                 in_place.mutable_view());
    EXPECT_EQ(in_place, Normalize(layout, x, statistics)) << shape.Text();
  }
}

// mean 0 and inv_std 1 leave gamma * x: each value meets the narrowing as it
// is.
TEST_P(TrainTest, NarrowingHasTheReadableBitsAtTiesSubnormalsAndOverflow) {
  std::vector<double> gamma;
  for (int exponent = -160; exponent <= 130; ++exponent) {
    for (const double digits :
         {1.0, 1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1p-11, 1 + 0x3p-11, 1 + 0x1p-24,
          1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-11 - 0x1p-40, 2 - 0x1p-30}) {
      gamma.push_back(std::ldexp(digits, exponent));
      gamma.push_back(-std::ldexp(digits, exponent));
    }
  }
  for (const double special :
       {std::numeric_limits<double>::infinity(), std::nan(""), 0.0, -0.0}) {
    gamma.push_back(special);
  }
  const auto channels = static_cast<std::int64_t>(gamma.size());
  const std::vector<double> zeros(gamma.size(), 0.0);
  const std::vector<double> ones(gamma.size(), 1.0);
  const Statistics unit = FromRunning(zeros, ones, 0, kIeee);
  const ChannelLayout layout = Shape{{1, channels}, {1}}.layout();
  const TestTensor x(dtype(), ones);
  TestTensor expected(dtype(), channels);
  readable::ApplyForward(layout, 0, x.view(), unit, gamma, zeros,
                         expected.mutable_view());
  EXPECT_EQ(Normalize(layout, x, unit, gamma, zeros), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Targets, TrainTest,
    testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                     testing::ValuesIn(kDtypes)),
    [](const auto& instance) {
      return std::string(hwy::TargetName(std::get<0>(instance.param))) + "_" +
             NameOf(std::get<1>(instance.param));
    });

// Large outputs are written past the caches, and what is read is fetched.
TEST(TrainLargeTest, StreamedOutputsHaveTheReadableBits) {
  Random random(12);
  for (const Shape& shape :
       {Shape{{20, 30, 3001}, {1}}, Shape{{4001, 801}, {1}},
        // Small planes, in rows that begin alike within a line, or do not.
        Shape{{25, 1312, 49}, {1}}, Shape{{25, 1311, 49}, {1}},
        Shape{{9, 912, 196}, {1}}, Shape{{3, 1400, 400}, {1}}}) {
    const ChannelLayout layout = shape.layout();
    const auto size = static_cast<std::size_t>(layout.size());
    const TestTensor x(Dtype::kF32,
                       Generate(Generators().front(), size, random));
    const TestTensor dy(Dtype::kF32,
                        Generate(Generators().front(), size, random));
    const auto gamma = Parameters(layout.channels(), random);
    const Readable expected(layout, x, dy, gamma, gamma);
    PlacedTensor y(TestTensor(Dtype::kF32, layout.size()), 4);
    const TrainBatch batch = TrainForward(layout, x.view(), kEps, kIeee, gamma,
                                          gamma, y.mutable_view());
    EXPECT_TRUE(y.HasBytesOf(expected.y)) << shape.Text();
    TrainBackward(layout, x.view(), dy.view(), batch, kEps, kIeee, gamma,
                  y.mutable_view());
    EXPECT_TRUE(y.HasBytesOf(expected.dx)) << shape.Text();
  }
}

}  // namespace
}  // namespace batchnorm::kernel
