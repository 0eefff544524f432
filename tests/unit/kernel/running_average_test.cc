// The weights of running averages: README.md, "Edge cases", 33-37 and 54.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/unit/kernel/one_channel.h"

namespace batchnorm::kernel {
namespace {

using Running = OneChannel::Running;

TEST(RunningAverageTest, Case33WeightZeroCountsTheBatchAndChangesNothing) {
  const OneChannel channel(Dtype::kF32, {1, 2, 4});
  EXPECT_EQ(channel.Update({0.1, 0.7, 5}, 0.0, 1), (Running{0.1, 0.7, 6}));
}

TEST(RunningAverageTest, Case34WeightOneTakesTheBatch) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  EXPECT_EQ(channel.Update({0.1, 0.7, 5}, 1.0, 1), (Running{2, 2, 6}));
}

TEST(RunningAverageTest, Case35WeightsOutsideZeroToOneAreComputedAsWritten) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  EXPECT_EQ(channel.Update({4, 8, 0}, -1.0, 1), (Running{6, 14, 1}));
  EXPECT_EQ(channel.Update({4, 8, 0}, 3.0, 1), (Running{-2, -10, 1}));
}

TEST(RunningAverageTest, Case36CumulativeWeightsGiveThePlainAverage) {
  Running running = {123, 456, 0};  // the first batch replaces these
  running = OneChannel(Dtype::kF32, {1, 3}).Update(running, std::nullopt, 1);
  EXPECT_EQ(running, (Running{2, 2, 1}));
  running = OneChannel(Dtype::kF32, {5, 11}).Update(running, std::nullopt, 1);
  EXPECT_EQ(running, (Running{5, 10, 2}));
  running = OneChannel(Dtype::kF32, {-7, -7}).Update(running, std::nullopt, 1);
  EXPECT_EQ(running, (Running{1, 20.0 / 3, 3}));
}

// In single precision k and k + 1 are the same from k = 2^24 on.
TEST(RunningAverageTest, Case37CumulativeWeightsStayExactBeyond2To24) {
  const OneChannel channel(Dtype::kF32, {1, 3});
  const std::int64_t k = (std::int64_t{1} << 24) + 1;
  const auto after = channel.Update({0, 0, k - 1}, std::nullopt, 1);
  EXPECT_EQ(after.mean, 2.0 / static_cast<double>(k));
  EXPECT_EQ(after.batch_count, k);
}

TEST(RunningAverageTest, Case54DdofTellsBiasedFromUnbiased) {
  const OneChannel channel(Dtype::kF32, {1, 2, 3, 4});
  EXPECT_EQ(channel.Update({0, 0, 0}, 1.0, 0).var, 1.25);
  EXPECT_EQ(channel.Update({0, 0, 0}, 1.0, 1).var, 5.0 / 3);
  // Normalizing takes the biased variance, whatever the running one is.
  EXPECT_EQ(channel.Train(0).var[0], 1.25);
}

TEST(RunningAverageTest, EveryChannelMovesByItsOwnStatistics) {
  const ChannelLayout layout(std::vector<std::int64_t>{2, 2}, std::vector{1});
  const ForwardSums sums =
      SumsOf(layout, TestTensor(Dtype::kF32, std::vector<double>{1, 10,  //
                                                                 3, 30}));
  std::vector<double> mean = {0, 0};
  std::vector<double> var = {0, 0};
  std::int64_t batches = 0;
  UpdateRunning(sums, {0.5, 1}, Degenerate::kIeee, mean, var, batches);
  EXPECT_EQ(mean, (std::vector<double>{1, 10}));
  EXPECT_EQ(var, (std::vector<double>{1, 100}));
}

// More channels than are finished at once, some of which only the readable code
// can finish, and batches without any values.
TEST(RunningAverageTest, FinishingAndUpdatingTogetherHasTheBitsOfBoth) {
  for (const std::int64_t rows : {0, 1, 5}) {
    constexpr std::int64_t kChannels = 301;
    std::vector<double> values;
    for (std::int64_t i = 0; i < rows * kChannels; ++i) {
      const double base = std::sin(static_cast<double>(i));
      values.push_back(i % 7 == 0 ? std::ldexp(base, 600) : base);
    }
    const ChannelLayout layout(std::vector{rows, kChannels}, std::vector{1});
    const ForwardSums sums = SumsOf(layout, TestTensor(Dtype::kF64, values));
    const RunningUpdate update = {std::nullopt, 1};
    std::vector<double> mean(kChannels, 0.25);
    std::vector<double> var(kChannels, 3);
    std::int64_t batches = 2;
    std::vector<double> other_mean = mean;
    std::vector<double> other_var = var;
    std::int64_t other_batches = batches;
    const Statistics both = FinishForwardAndUpdate(
        sums, 1e-5, update, Degenerate::kUnitCorrection, mean, var, batches);
    const Statistics alone =
        FinishForward(sums, 1e-5, Degenerate::kUnitCorrection);
    UpdateRunning(sums, update, Degenerate::kUnitCorrection, other_mean,
                  other_var, other_batches);
    EXPECT_EQ(batches, other_batches);
    EXPECT_EQ(mean, other_mean);
    EXPECT_EQ(var, other_var);
    EXPECT_EQ(both.count, alone.count);
    EXPECT_EQ(both.scale, alone.scale);
    if (rows == 0) continue;  // NaN
    EXPECT_EQ(both.mean, alone.mean);
    EXPECT_EQ(both.var, alone.var);
    EXPECT_EQ(both.inv_std, alone.inv_std);
  }
}

}  // namespace
}  // namespace batchnorm::kernel
