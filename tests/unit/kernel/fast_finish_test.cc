// The fast finishing has the bits of the readable one wherever it is certain,
// on every target this machine runs, and is certain of all ordinary data.
#include "server/kernel/fast_finish.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/finish.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/readable_finish.h"
#include "tests/unit/kernel/fast_finish_run.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

constexpr double kEpsilons[] = {1e-5, 0, 1e-3, 1e-300, 1e300};
constexpr std::size_t kSizes[] = {1, 2, 7, 256};

// A batch of N x C, summed.
struct Batch {
  Batch(Dtype dtype, const std::vector<double>& x_columns,
        const std::vector<double>& dy_columns, std::size_t count)
      : layout(std::vector{static_cast<std::int64_t>(count),
                           static_cast<std::int64_t>(x_columns.size() / count)},
               std::vector{1}),
        forward(SumsOf(layout, TestTensor(dtype, x_columns))),
        backward(SumsOf(layout, TestTensor(dtype, x_columns),
                        TestTensor(dtype, dy_columns))) {}

  std::size_t channels() const {
    return static_cast<std::size_t>(layout.channels());
  }

  ChannelRange range() const { return {0, channels()}; }

  ChannelLayout layout;
  ForwardSums forward;
  BackwardSums backward;
};

Batch HardBatch(Dtype dtype, std::size_t count,
                std::vector<HardChannel>& channels) {
  Random random(21);
  channels = HardChannels(dtype, count, random);
  return Batch(dtype, XColumns(channels), DyColumns(channels), count);
}

std::vector<double> Normal(std::size_t size, double mean, double sd,
                           Random& random) {
  std::normal_distribution<double> normal(mean, sd);
  std::vector<double> values(size);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

Batch NormalBatch(Dtype dtype, std::size_t count, std::size_t channels,
                  double mean) {
  Random random(22);
  const std::size_t size = count * channels;
  return Batch(dtype, Normal(size, mean, 1, random),
               Normal(size, 0, 0.1, random), count);
}

ForwardExpansions ExpandForward(const ForwardSums& sums, ChannelRange block) {
  ForwardExpansions expansions;
  Expand(sums, block, expansions);
  return expansions;
}

BackwardExpansions ExpandBackward(const BackwardSums& sums,
                                  ChannelRange block) {
  BackwardExpansions expansions;
  Expand(sums, block, expansions);
  return expansions;
}

FastStatistics Fast(const Batch& batch, double eps) {
  const auto expand = [&](ChannelRange block) {
    return ExpandForward(batch.forward, block);
  };
  return FastStatistics(expand, batch.channels(), eps);
}

Statistics Channel(const Statistics& s, std::size_t c) {
  return {s.count,
          {s.mean[c]},
          {s.mean_lo[c]},
          {s.var[c]},
          {s.inv_std[c]},
          {s.scaled_inv_std[c]},
          {s.scaled_mean_lo[c]},
          {s.scale[c]}};
}

FastGradients FastBackward(const Batch& batch, double eps) {
  const auto expand_x = [&](ChannelRange block) {
    return ExpandForward(batch.forward, block);
  };
  const auto expand_dy = [&](ChannelRange block) {
    return ExpandBackward(batch.backward, block);
  };
  return FastGradients(expand_x, expand_dy, batch.channels(), eps);
}

Gradients Channel(const Gradients& g, std::size_t c) {
  return {
      {g.dgamma[c]}, {g.dbeta[c]}, {g.mean_dy[c]}, {g.mean_dy_lo[c]}, {g.k[c]}};
}

Statistics Readable(const Batch& batch, double eps) {
  const FloatingPointScope scope;
  Statistics statistics = StatisticsRoom(batch.channels());
  statistics.count = batch.forward.count(0);
  for (std::size_t c = 0; c < batch.channels(); ++c) {
    readable::FinishForward(batch.forward, eps, Degenerate::kIeee, c,
                            statistics);
  }
  return statistics;
}

Gradients Readable(const Batch& batch, double eps,
                   const BackwardSums& backward) {
  const FloatingPointScope scope;
  Gradients gradients = GradientsRoom(batch.channels());
  for (std::size_t c = 0; c < batch.channels(); ++c) {
    readable::FinishBackward(batch.forward, backward, eps, Degenerate::kIeee, c,
                             gradients);
  }
  return gradients;
}

// How many channels are certain, all of which have the bits of the readable
// code.
std::size_t CountCertainBackward(const Batch& batch, double eps,
                                 const std::string& what) {
  const FastGradients fast = FastBackward(batch, eps);
  const Gradients readable = Readable(batch, eps, batch.backward);
  for (std::size_t c = 0; c < batch.channels(); ++c) {
    EXPECT_LE(fast.certain[c], 1);
    if (fast.certain[c] == 0) continue;
    EXPECT_TRUE(SameBits(Channel(fast.values, c), Channel(readable, c)))
        << what << ", channel " << c << ", eps " << eps;
  }
  return Count(fast.certain);
}

// The same, forward.
std::size_t CountCertain(const Batch& batch, double eps,
                         const std::string& what) {
  const FastStatistics fast = Fast(batch, eps);
  const Statistics readable = Readable(batch, eps);
  for (std::size_t c = 0; c < batch.channels(); ++c) {
    EXPECT_LE(fast.certain[c], 1);
    if (fast.certain[c] == 0) continue;
    EXPECT_TRUE(SameBits(Channel(fast.values, c), Channel(readable, c)))
        << what << ", channel " << c << ", eps " << eps;
  }
  return Count(fast.certain);
}

// Averages before or after an update.
struct Running {
  std::vector<double> mean;
  std::vector<double> var;
};

// The same for an update, which leaves alone what is not certain. `batches` are
// counted without this one.
std::size_t CountCertainUpdates(const Batch& batch, const RunningUpdate& update,
                                const Running& old, std::int64_t batches) {
  const Degenerate degenerate = Degenerate::kIeee;
  Certain certain(batch.channels(), 2);
  Running fast = old;
  Running expected = old;
  {
    const FloatingPointScope scope;
    ForEachBlock(batch.channels(), [&](ChannelRange block) {
      FastUpdateRunning(ExpandForward(batch.forward, block), update, degenerate,
                        batches + 1, Part(fast.mean, block),
                        Part(fast.var, block), Part(certain, block));
    });
    for (std::size_t c = 0; c < batch.channels(); ++c) {
      readable::UpdateRunning(batch.forward, update, degenerate, batches + 1, c,
                              expected.mean[c], expected.var[c]);
    }
  }
  for (std::size_t c = 0; c < batch.channels(); ++c) {
    const Running& after = certain[c] == 1 ? expected : old;
    EXPECT_TRUE(SameBits(std::array{fast.mean[c], fast.var[c]},
                         std::array{after.mean[c], after.var[c]}))
        << "channel " << c << ", weight " << update.new_weight.value_or(-7);
  }
  return Count(certain);
}

Running NormalRunning(std::size_t channels) {
  Random random(27);
  Running running = {Normal(channels, 0, 1, random),
                     Normal(channels, 1, 0.01, random)};
  return running;
}

class FastFinishTest : public OnEachTarget {};

INSTANTIATE_TEST_SUITE_P(Targets, FastFinishTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         NameOfTarget);

TEST_P(FastFinishTest, HardChannelsHaveTheSameBits) {
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t count : kSizes) {
      std::vector<HardChannel> channels;
      const Batch batch = HardBatch(dtype, count, channels);
      for (const double eps : kEpsilons) {
        CountCertain(batch, eps, NameOf(dtype));
        CountCertainBackward(batch, eps, NameOf(dtype));
      }
    }
  }
}

TEST_P(FastFinishTest, HardChannelsOfNarrowTypesAreCertain) {
  for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16, Dtype::kF32}) {
    std::vector<HardChannel> channels;
    const Batch batch = HardBatch(dtype, 256, channels);
    const Certain forward = Fast(batch, 1e-5).certain;
    const Certain backward = FastBackward(batch, 1e-5).certain;
    // Of f32's whole range S is too long for three limbs.
    for (std::size_t c = 0; c < channels.size(); ++c) {
      const bool wide =
          dtype != Dtype::kF16 &&
          channels[c].name.find("mixed magnitudes") != std::string::npos;
      EXPECT_TRUE((forward[c] && backward[c]) || wide)
          << NameOf(dtype) << " " << channels[c].name;
    }
  }
}

// Magnitudes log-uniform over 2^-60 .. 2^60, of either sign.
std::vector<double> LogUniform(std::size_t size, Random& random) {
  std::uniform_real_distribution<double> exponent(-60, 60);
  std::vector<double> values(size);
  for (double& value : values) {
    value = std::exp2(exponent(random)) * (random() % 2 == 0 ? 1 : -1);
  }
  return RoundedTo(Dtype::kF32, values);
}

TEST_P(FastFinishTest, MagnitudesThatDifferALotAreCertain) {
  Random random(28);
  const std::size_t channels = 2003;
  const Running old = NormalRunning(channels);
  for (const std::size_t count : {1u, 2u, 32u, 49u, 100u}) {
    const auto x = LogUniform(count * channels, random);
    for (const bool both : {true, false}) {
      SCOPED_TRACE(count);
      const auto dy = both ? LogUniform(count * channels, random)
                           : Normal(count * channels, 0, 1, random);
      const Batch batch(Dtype::kF32, x, dy, count);
      EXPECT_GE(CountCertain(batch, 1e-5, "wide"), 2001);
      // Of two values, |dgamma| is |dy1 - dy2| but for what eps takes off, and
      // hence often as good as a tie.
      EXPECT_GE(CountCertainBackward(batch, 1e-5, "wide"),
                count == 2 ? 1980 : 2001);
      if (count < 10) continue;
      EXPECT_GE(CountCertainUpdates(batch, {0.1, 1}, old, 6), 2001);
    }
  }
}

// Values of which two make a tie that a third, far below, decides.
TEST_P(FastFinishTest, TheThirdLimbOfASumDecidesTies) {
  for (const std::size_t count : {3u, 4u, 5u, 32u}) {
    std::vector<double> x;
    for (std::size_t row = 0; row < count; ++row) {
      for (const double half : {0x1p47, -0x1p47}) {
        for (const double least : {0x1p-50, -0x1p-50, 0.0}) {
          for (const double odd : {0.0, 0x1p48}) {
            const std::array values = {0x1p100, half, least, odd};
            x.push_back(row < 3 || count > 3 ? values[row % 4] : 0.0);
            if (count > 4 && row > 3) x.back() = 0;
          }
        }
      }
    }
    const Batch batch(Dtype::kF64, x, x, count);
    CountCertain(batch, 1e-5, "ties");
    CountCertainBackward(batch, 1e-5, "ties");
    const Running old = NormalRunning(batch.channels());
    CountCertainUpdates(batch, {1.0, 1}, old, 0);
  }
}

TEST_P(FastFinishTest, OrdinaryDataIsCertain) {
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t count : {2u, 32u, 49u, 100u}) {
      const Batch batch = NormalBatch(dtype, count, 2003, 0.5);
      EXPECT_GE(CountCertain(batch, 1e-5, NameOf(dtype)), 2001)
          << NameOf(dtype) << " of " << count;
      EXPECT_GE(CountCertainBackward(batch, 1e-5, NameOf(dtype)), 2001)
          << NameOf(dtype) << " of " << count;
    }
  }
}

void ExpectAllCertain(const Batch& batch, double eps) {
  EXPECT_EQ(CountCertain(batch, eps, ""), batch.channels());
  EXPECT_EQ(CountCertainBackward(batch, eps, ""), batch.channels());
}

TEST_P(FastFinishTest, LargeMeansAreCertain) {
  for (int log2 = 0; log2 <= 23; ++log2) {
    SCOPED_TRACE(log2);
    const double mean = std::ldexp(1.0, log2);
    ExpectAllCertain(NormalBatch(Dtype::kF32, 1000, 8, mean), 1e-5);
    ExpectAllCertain(NormalBatch(Dtype::kF64, 1000, 8, mean), 1e-5);
  }
  ExpectAllCertain(NormalBatch(Dtype::kF32, std::size_t{1} << 20, 1, 0x1p23),
                   0);
}

TEST_P(FastFinishTest, OneOddValueInManyIsCertain) {
  const std::size_t count = std::size_t{1} << 20;
  std::vector<double> x(count, 1e6);
  x[count / 3] = 1e6 + 0.0625;
  ExpectAllCertain(Batch(Dtype::kF32, x, x, count), 1e-5);
}

// dgamma, k and mean_dy are what a cancellation leaves.
TEST_P(FastFinishTest, GradientsThatCancelAreCertain) {
  const std::size_t count = 300;
  Random random(25);
  for (const double noise : {0.0, 1e-6, 1e-3, 1.0}) {
    std::vector<double> x = Normal(count, 1e3, 1, random);
    x = RoundedTo(Dtype::kF32, x);
    std::vector<double> dy = Normal(count, 0, noise, random);
    for (std::size_t i = 0; i < count; ++i) dy[i] += 2 - x[i] / 500;
    ExpectAllCertain(Batch(Dtype::kF32, x, dy, count), 1e-5);
    const std::vector<double> constant(count, 1e3);
    ExpectAllCertain(Batch(Dtype::kF32, x, constant, count), 1e-5);
    ExpectAllCertain(Batch(Dtype::kF32, constant, dy, count), 1e-5);
  }
}

TEST_P(FastFinishTest, ConstantChannelsAreCertainAndTheirVarianceIsZero) {
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t count : {1u, 3u, 49u, 1024u}) {
      std::vector<double> x;
      const std::array values = {0.0, -0.0, 0.1, -1e4, 3.0, 1e-3, 0.3};
      for (std::size_t row = 0; row < count; ++row) {
        x.insert(x.end(), values.begin(), values.end());
      }
      const Batch batch(dtype, x, x, count);
      EXPECT_EQ(CountCertain(batch, 1e-5, NameOf(dtype)), values.size());
      for (const double var : Fast(batch, 1e-5).values.var) {
        EXPECT_TRUE(SameBits(std::array{var}, std::array{0.0}));
      }
      EXPECT_EQ(CountCertain(batch, 0, NameOf(dtype)), 0);
      EXPECT_EQ(CountCertainBackward(batch, 1e-5, NameOf(dtype)),
                values.size());
      EXPECT_EQ(CountCertainBackward(batch, 0, NameOf(dtype)), 0);
    }
  }
}

TEST_P(FastFinishTest, ScaledChannelsAreLeftToTheReadableCode) {
  for (const double size : {1e-310, 1e-200, 1e-80, 1e80, 1e200}) {
    Random random(23);
    const auto x = Normal(100, 0, size, random);
    const Batch batch(Dtype::kF64, x, x, 100);
    EXPECT_EQ(CountCertain(batch, 0, ""), 0) << size;
    EXPECT_EQ(CountCertainBackward(batch, 0, ""), 0) << size;
  }
}

TEST_P(FastFinishTest, NonFiniteAndEmptyChannelsAreLeftToTheReadableCode) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector x = {1.0, inf, nan, 2.0, 3.0, 4.0};
  const std::vector ones(6, 1.0);
  const Certain finite = {1, 0, 0};
  EXPECT_EQ(Fast(Batch(Dtype::kF32, x, ones, 2), 1e-5).certain, finite);
  EXPECT_EQ(FastBackward(Batch(Dtype::kF32, x, ones, 2), 1e-5).certain, finite);
  EXPECT_EQ(FastBackward(Batch(Dtype::kF32, ones, x, 2), 1e-5).certain, finite);
  const auto empty = [](ChannelRange block) {
    return ExpandForward(ForwardSums(3, Dtype::kF32), block);
  };
  const auto empty_dy = [](ChannelRange block) {
    return ExpandBackward(BackwardSums(3, Dtype::kF32, Dtype::kF32), block);
  };
  EXPECT_EQ(FastStatistics(empty, 3, 1e-5).certain, (Certain{0, 0, 0}));
  EXPECT_EQ(FastGradients(empty, empty_dy, 3, 1e-5).certain,
            (Certain{0, 0, 0}));
}

TEST_P(FastFinishTest, HardChannelsUpdateToTheSameBits) {
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t count : kSizes) {
      std::vector<HardChannel> channels;
      const Batch batch = HardBatch(dtype, count, channels);
      Running old = NormalRunning(channels.size());
      for (std::size_t c = 0; c < channels.size(); c += 2) {
        old.mean[c] = -channels[c].x[0];
      }
      for (const double w : {0.1, 0.0, 1.0, 0.5, -1.2, 3.5, 1e-20, 1e-300}) {
        for (const int ddof : {0, 1}) {
          CountCertainUpdates(batch, {w, ddof}, old, 41);
        }
      }
      for (const std::int64_t batches : {0L, 1L, 2L, 1L << 24, 1L << 60}) {
        CountCertainUpdates(batch, {std::nullopt, 1}, old, batches);
      }
    }
  }
}

// Cumulative averages of few values are often a tie, which is left alone.
TEST_P(FastFinishTest, OrdinaryUpdatesAreCertain) {
  const std::size_t channels = 2003;
  const Running zero = {std::vector(channels, 0.0), std::vector(channels, 1.0)};
  const Running old = NormalRunning(channels);
  for (const Dtype dtype : kDtypes) {
    for (const std::size_t count : {32u, 49u, 100u}) {
      SCOPED_TRACE(NameOf(dtype) + " of " + std::to_string(count));
      const Batch batch = NormalBatch(dtype, count, channels, 0.5);
      for (const double w : {0.1, 0.01, 0.0, 1.0}) {
        SCOPED_TRACE(w);
        EXPECT_GE(CountCertainUpdates(batch, {w, 1}, zero, 0), 2001);
        EXPECT_GE(CountCertainUpdates(batch, {w, 1}, old, 6), 2001);
      }
      EXPECT_GE(CountCertainUpdates(batch, {std::nullopt, 1}, zero, 0), 2001);
      EXPECT_GE(CountCertainUpdates(batch, {std::nullopt, 1}, old, 6), 1983);
    }
  }
}

TEST_P(FastFinishTest, ConstantChannelsUpdateWithCertainty) {
  const std::vector<double> zeros(64, 0.0);
  const Batch batch(Dtype::kF32, zeros, zeros, 32);
  EXPECT_EQ(CountCertainUpdates(batch, {0.1, 1}, {{0, -0.0}, {1, 0}}, 3), 2);
  EXPECT_EQ(CountCertainUpdates(batch, {0.1, 1}, {{0.7, -2}, {1e-9, 3}}, 3), 2);
  EXPECT_EQ(CountCertainUpdates(batch, {std::nullopt, 0}, {{5, 1}, {1, 0}}, 3),
            2);
}

TEST_P(FastFinishTest, UpdatesThatCancelAreNotCertain) {
  const std::vector x = {0.3, 0.3};
  const Batch batch(Dtype::kF64, x, x, 2);
  EXPECT_EQ(CountCertainUpdates(batch, {0.5, 1}, {{-0.3}, {1}}, 0), 0);
}

TEST_P(FastFinishTest, DegenerateAndNonFiniteUpdatesAreNotCertain) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector x = {1.0, 2.0, 3.0, 4.0, inf, nan};
  const Batch batch(Dtype::kF32, x, x, 1);
  const Running old = {{0, inf, 0, 0, 0, 0}, {1, 1, nan, 1e-310, 1, 1}};
  EXPECT_EQ(CountCertainUpdates(batch, {0.1, 0}, old, 0), 1);
  EXPECT_EQ(CountCertainUpdates(batch, {0.1, 1}, old, 0), 0);
}

}  // namespace
}  // namespace batchnorm::kernel
