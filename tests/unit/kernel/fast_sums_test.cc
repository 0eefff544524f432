// The certified sums are the readable ones, for every target, dtype, shape,
// alignment, cut and kind of data.
#include "server/kernel/fast_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "server/kernel/channel_sums.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/generated_values.h"
#include "tests/unit/kernel/placed_tensor.h"
#include "tests/unit/kernel/readable_sums.h"
#include "tests/unit/kernel/shapes.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

struct Data {
  Data(const ChannelLayout& layout, Dtype x_dtype, Dtype dy_dtype,
       const Generator& generator, Random& random)
      : x(x_dtype,
          Generate(generator, static_cast<std::size_t>(layout.size()), random)),
        dy(dy_dtype, Generate(generator,
                              static_cast<std::size_t>(layout.size()), random)),
        forward(layout, x.values(), x.values()),
        backward(layout, dy.values(), x.values()) {}

  TestTensor x;
  TestTensor dy;
  ReadableSums forward;
  ReadableSums backward;
};

class FastSumsTest
    : public testing::TestWithParam<std::tuple<std::int64_t, Dtype>> {
 protected:
  Dtype dtype() const { return std::get<1>(GetParam()); }

  // All of the tensor at once.
  void ExpectSums(const Shape& shape, const Generator& generator) {
    SCOPED_TRACE(shape.Text() + ", " + generator.name);
    const ChannelLayout layout = shape.layout();
    const Data data(layout, dtype(), dtype(), generator, random_);
    const PlacedTensor x(data.x, random_() % 8);
    const PlacedTensor dy(data.dy, random_() % 8);
    ForwardSums forward(layout.channels(), dtype());
    forward.Add(layout, 0, x.view());
    ASSERT_TRUE(Has(forward, data.forward));
    BackwardSums backward(layout.channels(), dtype(), dtype());
    backward.Add(layout, 0, x.view(), dy.view());
    ASSERT_TRUE(Has(backward, data.backward));
  }

  Random random_{7};

 private:
  ForcedTarget target_{std::get<0>(GetParam())};
};

TEST_P(FastSumsTest, AreTheReadableSumsForEveryShape) {
  std::size_t next = 0;
  for (const Shape& shape : EdgeShapes()) {
    // Ordinary data, and another kind each time.
    ExpectSums(shape, Generators().front());
    ExpectSums(shape, Generators()[++next % Generators().size()]);
  }
}

TEST_P(FastSumsTest, AreTheReadableSumsForEveryKindOfData) {
  for (const Generator& generator : Generators()) {
    ExpectSums({{70, 19}, {1}}, generator);
    ExpectSums({{3, 2, 1100}, {1}}, generator);
    ExpectSums({{40, 3, 50}, {1}}, generator);
    ExpectSums({{5, 9, 20}, {1}}, generator);
    ExpectSums({{200, 2, 20}, {1}}, generator);
    ExpectSums({{20, 34, 40}, {1}}, generator);
    ExpectSums({{1100, 7}, {1}}, generator);
    ExpectSums({{1100, 3, 2}, {1}}, generator);
  }
}

// A strip's columns have scales of their own, which may be out of range of what
// certifies the others. One value in 37 is too small for all of them.
TEST_P(FastSumsTest, AreTheReadableSumsWhereChannelsDifferInMagnitude) {
  constexpr int kExponents[] = {-100, -64, -62, -30, 0, 15, 19, 23, 60, 100};
  constexpr std::int64_t kChannels = 40;
  std::normal_distribution<double> normal;
  for (const std::int64_t inner : {1, 3, 600}) {
    const Shape shape = {{1800 / inner, kChannels, inner}, {1}};
    const ChannelLayout layout = shape.layout();
    const auto draw = [&] {
      std::vector<double> values;
      for (std::int64_t i = 0; i < layout.size(); ++i) {
        const auto channel = static_cast<std::size_t>(i / inner % kChannels);
        values.push_back(std::ldexp(
            normal(random_),
            kExponents[channel % std::size(kExponents)] - 30 * (i % 37 == 0)));
      }
      return TestTensor(dtype(), values);
    };
    const TestTensor x = draw();
    const TestTensor dy = draw();
    EXPECT_TRUE(
        Has(SumsOf(layout, x), ReadableSums(layout, x.values(), x.values())));
    EXPECT_TRUE(Has(SumsOf(layout, x, dy),
                    ReadableSums(layout, dy.values(), x.values())));
  }
}

TEST_P(FastSumsTest, AreTheReadableSumsForRandomShapes) {
  for (int trial = 0; trial < 40; ++trial) {
    ExpectSums(RandomShape(3000, random_),
               Generators()[random_() % Generators().size()]);
  }
}

TEST_P(FastSumsTest, AreTheReadableSumsHoweverTheBatchIsCutAndMerged) {
  for (int trial = 0; trial < 20; ++trial) {
    const Shape shape = RandomShape(4000, random_);
    const Generator& generator = Generators()[random_() % Generators().size()];
    SCOPED_TRACE(shape.Text() + ", " + generator.name);
    const ChannelLayout layout = shape.layout();
    const Data data(layout, dtype(), dtype(), generator, random_);
    const PlacedTensor x(data.x, random_() % 8);
    const PlacedTensor dy(data.dy, random_() % 8);
    std::vector<ForwardSums> forward(3,
                                     ForwardSums(layout.channels(), dtype()));
    std::vector<BackwardSums> backward(
        3, BackwardSums(layout.channels(), dtype(), dtype()));
    for (std::int64_t at = 0; at < layout.size();) {
      const std::int64_t size = std::min(
          layout.size() - at, 1 + static_cast<std::int64_t>(random_() % 900));
      const std::size_t part = random_() % 3;
      forward[part].Add(layout, at, x.Slice(at, size));
      backward[part].Add(layout, at, x.Slice(at, size), dy.Slice(at, size));
      at += size;
    }
    for (const std::size_t part : {1, 2}) {
      forward[0].Merge(forward[part]);
      backward[0].Merge(backward[part]);
    }
    ASSERT_TRUE(Has(forward[0], data.forward));
    ASSERT_TRUE(Has(backward[0], data.backward));
  }
}

TEST_P(FastSumsTest, AreTheReadableSumsWhereDyHasAnotherDtype) {
  const ChannelLayout layout = Shape{{30, 7, 11}, {1}}.layout();
  for (const Dtype dy_dtype : kDtypes) {
    const Data data(layout, dtype(), dy_dtype, Generators().front(), random_);
    BackwardSums sums(layout.channels(), dtype(), dy_dtype);
    sums.Add(layout, 0, data.x.view(), data.dy.view());
    ASSERT_TRUE(Has(sums, data.backward)) << NameOf(dy_dtype);
  }
}

// The integers of one dtype's scale are put aside when another's begin.
TEST_P(FastSumsTest, AreTheReadableSumsWhereBlocksHaveSeveralDtypes) {
  const ChannelLayout layout = Shape{{20, 40}, {1}}.layout();
  const std::vector<double> values = RoundedTo(
      Dtype::kBF16,
      RoundedTo(Dtype::kF16, Generate(Generators().front(), 800, random_)));
  ForwardSums sums(layout.channels(), dtype());
  for (const Dtype other : {dtype(), Dtype::kF64, Dtype::kF16, Dtype::kF32}) {
    sums.Add(layout, 0, TestTensor(other, values).view());
  }
  ReadableSums expected(layout, values, values);
  for (std::size_t c = 0; c < expected.sum.size(); ++c) {
    for (ExactSum* sum : {&expected.sum[c], &expected.products[c]}) {
      const ExactSum once = *sum;
      for (int i = 0; i < 3; ++i) sum->Merge(once);
    }
  }
  ASSERT_TRUE(Has(sums, expected));
}

TEST_P(FastSumsTest, AreTheReadableSumsFromSeveralThreads) {
  Workers workers(3);
  for (const Shape& shape :
       {Shape{{3000, 40}, {1}}, Shape{{4, 30, 1000}, {1}},
        Shape{{3, 20000}, {0}}, Shape{{200, 3, 100, 2}, {1, 3}}}) {
    const ChannelLayout layout = shape.layout();
    const Data data(layout, dtype(), dtype(), Generators().front(), random_);
    ForwardSums forward(layout.channels(), dtype());
    forward.Add(layout, 0, data.x.view(), workers);
    ASSERT_TRUE(Has(forward, data.forward)) << shape.Text();
    BackwardSums backward(layout.channels(), dtype(), dtype());
    backward.Add(layout, 0, data.x.view(), data.dy.view(), workers);
    ASSERT_TRUE(Has(backward, data.backward)) << shape.Text();
  }
}

// Otherwise a certificate that never holds could hide behind the spills.
TEST_P(FastSumsTest, OfOrdinaryDataAreIntegersAlmostEverywhere) {
  for (const Shape& shape :
       {Shape{{4096, 100}, {1}}, Shape{{4, 100, 1024}, {1}}}) {
    const ChannelLayout layout = shape.layout();
    const Data data(layout, dtype(), dtype(), Generators().front(), random_);
    const ForwardSums forward = SumsOf(layout, data.x);
    const BackwardSums backward = SumsOf(layout, data.x, data.dy);
    int fit = 0;
    for (std::int64_t c = 0; c < layout.channels(); ++c) {
      fit += int{forward.totals(c).fits()} + int{backward.totals(c).fits()};
    }
    // f64 certifies fewer binades: a value near 0 spills its block.
    EXPECT_GE(fit, dtype() == Dtype::kF64 ? 120 : 180)
        << "of 200, " << shape.Text();
  }
}

// One value that is far from the others makes slices of a block. Here all of
// these are just short of what a lane of the first slice holds, or of half its
// unit, which is the most that goes to the second one, and of one sign.
TEST_P(FastSumsTest, AreTheReadableSumsWhereSlicesAreAsFullAsTheyGet) {
  constexpr double kMost = 0x1.fffffep0;
  struct Case {
    double odd;
    double others;
  };
  for (const auto& [odd, others] :
       {Case{0x1p-60, kMost}, Case{kMost, 0x1.fffffep-45},
        Case{kMost, 0x1.fffffep-44}, Case{kMost, 0x1.fffffep-43}}) {
    for (const Shape& shape :
         {Shape{{4096}, {}}, Shape{{3, 1024}, {0}}, Shape{{4096, 3}, {1}}}) {
      SCOPED_TRACE(shape.Text());
      const ChannelLayout layout = shape.layout();
      std::vector<double> values(static_cast<std::size_t>(layout.size()),
                                 others);
      for (std::size_t i = 0; i < values.size(); i += 512) values[i] = odd;
      const TestTensor x(dtype(), values);
      const TestTensor dy(dtype(), std::vector<double>(values.size(), kMost));
      ASSERT_TRUE(
          Has(SumsOf(layout, x), ReadableSums(layout, x.values(), x.values())));
      ASSERT_TRUE(Has(SumsOf(layout, x, dy),
                      ReadableSums(layout, dy.values(), x.values())));
      ASSERT_TRUE(Has(SumsOf(layout, dy, x),
                      ReadableSums(layout, x.values(), dy.values())));
    }
  }
}

// Squares of 16 bits need one slice where values are large enough. Here some,
// few or many, are the least that are, or smaller, with all bits that bf16 has.
TEST_P(FastSumsTest, AreTheReadableSumsWhereSquaresNearlyFitOneSlice) {
  std::uniform_real_distribution<double> ordinary(1, 2);
  for (const int exponent : {-13, -14, -15, -16, -17, -18}) {
    for (const std::size_t every : {1, 5, 701}) {
      SCOPED_TRACE(testing::Message() << exponent << ", every " << every);
      const ChannelLayout layout = Shape{{700, 40}, {1}}.layout();
      std::vector<double> values(static_cast<std::size_t>(layout.size()));
      for (std::size_t i = 0; i < values.size(); ++i) {
        // The first row is what scales are predicted from, in part.
        const bool is_small = i >= 40 && i % every == 0;
        values[i] =
            is_small ? std::ldexp(0x1.fep0, exponent) : ordinary(random_);
      }
      const TestTensor x(dtype(), values);
      ASSERT_TRUE(
          Has(SumsOf(layout, x), ReadableSums(layout, x.values(), x.values())));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, FastSumsTest,
    testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                     testing::ValuesIn(kDtypes)),
    NameOfTargetAndDtype);

// Tensors too large for the caches go through other strips and tiles.
TEST(FastSumsOfLargeTensorsTest, AreTheReadableOnes) {
  constexpr std::int64_t kBytes = (std::int64_t{12} << 20) + 1;
  Random random(8);
  for (const auto& [dtype, channels] :
       {std::pair{Dtype::kF32, 1300}, std::pair{Dtype::kF32, 70},
        std::pair{Dtype::kBF16, 1300}, std::pair{Dtype::kF16, 1300},
        std::pair{Dtype::kF64, 1300}}) {
    const std::int64_t row_bytes =
        channels * static_cast<std::int64_t>(SizeOf(dtype));
    const Shape shape = {{kBytes / row_bytes + 1, channels}, {1}};
    SCOPED_TRACE(shape.Text());
    const ChannelLayout layout = shape.layout();
    const Data data(layout, dtype, dtype, Generators().front(), random);
    EXPECT_TRUE(Has(SumsOf(layout, data.x), data.forward));
    EXPECT_TRUE(Has(SumsOf(layout, data.x, data.dy), data.backward));
  }
}

// Totals are drained before they overflow: 2^22 values, as large as a
// certificate allows, of one sign.
TEST(FastSumsOfLongChannelsTest, DoNotOverflow) {
  constexpr std::int64_t kValues = std::int64_t{1} << 22;
  constexpr float kValue = 0x1.fffffep0F;
  const std::vector<float> x(kValues, kValue);
  const TensorView view = {Dtype::kF32, std::as_bytes(std::span(x))};
  ExactSum sum;
  ExactSum squares;
  sum.AddProduct(double{kValue}, static_cast<double>(kValues));
  squares.AddProduct(double{kValue} * kValue, static_cast<double>(kValues));
  for (const Shape& shape : {Shape{{kValues}, {}}, Shape{{kValues, 1}, {1}},
                             Shape{{kValues / 64, 1, 64}, {1}}}) {
    const ChannelLayout layout = shape.layout();
    ForwardSums sums(1, Dtype::kF32);
    sums.Add(layout, 0, view);
    EXPECT_EQ(sums.count(0), kValues);
    EXPECT_EQ(sums.sum(0).Value(), sum.Value()) << shape.Text();
    EXPECT_EQ(sums.sum_of_squares(0).Value(), squares.Value()) << shape.Text();
    EXPECT_TRUE(sums.totals(0).fits()) << shape.Text();
  }
}

}  // namespace
}  // namespace batchnorm::kernel
