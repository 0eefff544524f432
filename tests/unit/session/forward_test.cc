// What a Forward that takes a step returns and changes.
#include <limits>

#include "tests/unit/session/reference.h"
#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using ::testing::ElementsAre;
using Real = reference::Real;

constexpr Real kUlp64 = std::numeric_limits<double>::epsilon();
constexpr Real kUlp32 = std::numeric_limits<float>::epsilon();

void ExpectNear(Real expected, double got, Real bound) {
  EXPECT_LE(std::abs(static_cast<Real>(got) - expected), bound)
      << "expected " << static_cast<double>(expected) << ", got " << got;
}

class ForwardTest : public SessionTest {};

TEST_F(ForwardTest, FirstStepReturnsBatchStatisticsAndY) {
  const auto session = Open(quota_, Config(2));
  ForwardCall call = Train(1, x_);
  call.gamma = F32({2}, {2, -0.5});
  call.beta = F64({2}, {10, 0.25});
  const auto result = Forward(*session, call);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->step, 1u);
  EXPECT_FALSE(result->replayed);
  EXPECT_EQ(result->dtype, kernel::Dtype::kF64);
  EXPECT_EQ(result->shape, (Shape{4, 2}));

  // By hand: 1 2 3 4 has mean 2.5 and var 1.25; 5 6 7 9 has 6.75 and 2.1875.
  ASSERT_TRUE(result->statistics.has_value());
  EXPECT_EQ(result->statistics->count, 4);
  EXPECT_THAT(result->statistics->mean, ElementsAre(2.5, 6.75));
  EXPECT_THAT(result->statistics->mean_lo, ElementsAre(0, 0));
  EXPECT_THAT(result->statistics->var, ElementsAre(1.25, 2.1875));
  const std::vector<double> y = Numbers(result->dtype, result->y);
  ExpectNear(10 + 2 * -1.5L / std::sqrt(1.25L + 1e-5L), y[0], 10 * kUlp64);
  ExpectNear(0.25L - 0.5L * 2.25L / std::sqrt(2.1875L + 1e-5L), y[7], kUlp64);
}

TEST_F(ForwardTest, YMatchesTheDefinitionInLongDouble) {
  constexpr std::size_t kChannels = 3;
  const std::vector<double> gamma = {0.5, -2, 3};
  const std::vector<double> beta = {1, 0, -4};
  for (const double mean : {0.0, 1e3}) {
    const auto session = Open(quota_, Config(kChannels));
    ForwardCall call = Train(1, F32({100, 3}, Normals(300, 7, mean)));
    call.gamma = F64({3}, gamma);
    call.beta = F64({3}, beta);
    const auto result = Forward(*session, call);
    ASSERT_THAT(result, IsOk());
    const auto x = Read<float>(*call.x.data);
    const auto y = Read<float>(result->y);
    ASSERT_EQ(y.size(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = i % kChannels;
      const auto truth = reference::Statistics(x, kChannels, c, 1e-5);
      const Real scaled =
          static_cast<Real>(gamma[c]) * reference::XHat(x[i], truth);
      const Real expected = scaled + static_cast<Real>(beta[c]);
      ExpectNear(
          expected, y[i],
          kUlp32 * std::max(std::abs(expected), std::abs(scaled) * 0x1p-16L));
    }
  }
}

TEST_F(ForwardTest, RunningStatisticsBeginAtZeroAndOne) {
  const Snapshot snapshot = Open(quota_, Config(2))->GetSnapshot(true);
  EXPECT_THAT(snapshot.running->mean, ElementsAre(0, 0));
  EXPECT_THAT(snapshot.running->var, ElementsAre(1, 1));
  EXPECT_EQ(snapshot.running->batch_count, 0);
}

struct Averaging {
  std::optional<double> new_weight;
  std::uint32_t ddof;
};

TEST_F(ForwardTest, RunningStatisticsFollowTheirRecurrence) {
  const Averaging cases[] = {{0.1, 1},  {0.1, 0}, {0.0, 1},         {1.0, 0},
                             {-1.2, 1}, {7.5, 0}, {std::nullopt, 1}};
  for (const Averaging& averaging : cases) {
    SessionConfig config = Config(2);
    config.normalization.new_weight = averaging.new_weight;
    config.normalization.running_ddof = averaging.ddof;
    const auto session = Open(quota_, config);
    Real mean = 0;
    Real var = 1;
    for (unsigned step = 1; step <= 5; ++step) {
      const std::vector<double> x = Normals(20, step, 3);
      ASSERT_THAT(Forward(*session, Train(step, F64({10, 2}, x))), IsOk());
      const auto batch = reference::Statistics(x, 2, 1, 0);
      const Real w = averaging.new_weight.has_value()
                         ? static_cast<Real>(*averaging.new_weight)
                         : Real{1} / static_cast<Real>(step);
      const Real corrected = batch.var * 10 / (10 - averaging.ddof);
      mean = (1 - w) * mean + w * batch.mean;
      var = (1 - w) * var + w * corrected;
    }
    const auto running = session->GetSnapshot(true).running;
    const Real scale = std::max(std::abs(mean), std::abs(var));
    ExpectNear(mean, running->mean[1], 32 * scale * kUlp64);
    ExpectNear(var, running->var[1], 32 * scale * kUlp64);
    EXPECT_EQ(running->batch_count, 5);
  }
}

TEST_F(ForwardTest, CumulativeIsThePlainAverageOfMeansAndUnbiasedVariances) {
  SessionConfig config = Config(1);
  config.normalization.new_weight.reset();
  const auto session = Open(quota_, config);
  ASSERT_THAT(Forward(*session, Train(1, F64({2, 1}, {1, 3}))), IsOk());
  ASSERT_THAT(Forward(*session, Train(2, F64({2, 1}, {10, 16}))), IsOk());
  const auto running = session->GetSnapshot(true).running;
  EXPECT_THAT(running->mean, ElementsAre(7.5));  // of 2 and 13
  EXPECT_THAT(running->var, ElementsAre(10));    // of 2 and 18
}

TEST_F(ForwardTest, NewWeightOfACallReplacesTheSessionsForThatStep) {
  for (const bool cumulative : {false, true}) {
    SessionConfig config = Config(1);
    if (cumulative) config.normalization.new_weight.reset();
    const auto session = Open(quota_, config);
    ForwardCall call = Train(1, F64({2, 1}, {1, 3}));
    call.new_weight = 0.5;
    ASSERT_THAT(Forward(*session, call), IsOk());
    const auto running = session->GetSnapshot(true).running;
    EXPECT_THAT(running->mean, ElementsAre(1.0));
    EXPECT_THAT(running->var, ElementsAre(1.5));
    EXPECT_EQ(running->batch_count, 1);
  }
}

TEST_F(ForwardTest, NewWeightZeroChangesOnlyTheCount) {
  const auto session = Open(quota_, Config(2));
  ForwardCall call = Train(1, x_);
  call.new_weight = 0;
  ASSERT_THAT(Forward(*session, call), IsOk());
  const auto running = session->GetSnapshot(true).running;
  EXPECT_THAT(running->mean, ElementsAre(0, 0));
  EXPECT_THAT(running->var, ElementsAre(1, 1));
  EXPECT_EQ(running->batch_count, 1);
}

TEST_F(ForwardTest, AnEmptyBatchTakesAStepAndLeavesStatistics) {
  const auto session = Open(quota_, Config(2));
  for (const Shape& shape : {Shape{0, 2}, Shape{3, 2, 0}}) {
    const auto result = Forward(*session, Train(0, F32(shape, {})));
    ASSERT_THAT(result, IsOk());
    EXPECT_EQ(result->y, "");
    EXPECT_EQ(result->shape, shape);
    EXPECT_EQ(result->statistics->count, 0);
  }
  const Snapshot snapshot = session->GetSnapshot(true);
  EXPECT_EQ(snapshot.last_step, 2u);
  EXPECT_THAT(snapshot.running->mean, ElementsAre(0, 0));
  EXPECT_THAT(snapshot.running->var, ElementsAre(1, 1));
  EXPECT_EQ(snapshot.running->batch_count, 0);
}

TEST_F(ForwardTest, StepZeroTakesTheNextAndNamesIt) {
  const auto session = Open(quota_, Config(2));
  EXPECT_EQ(Forward(*session, Train(0, x_))->step, 1u);
  EXPECT_EQ(Forward(*session, Train(0, x_))->step, 2u);
  EXPECT_EQ(session->GetSnapshot(false).last_step, 2u);
}

TEST_F(ForwardTest, SeveralChannelAxesIndexRowMajor) {
  SessionConfig config = Config(4);
  config.normalization.channel_axes = {0, 2};
  const auto session = Open(quota_, config);
  // x[a][n][b]: channel (a, b) holds two values around 10a + b.
  const auto result =
      Forward(*session, Train(1, F64({2, 2, 2}, {-1, 0, 1, 2, 9, 10, 11, 12})));
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->statistics->mean, ElementsAre(0, 1, 10, 11));
  EXPECT_THAT(result->statistics->var, ElementsAre(1, 1, 1, 1));
}

TEST_F(ForwardTest, LayoutsOfTheSameDataGiveTheSameBits) {
  SessionConfig last = Config(2);
  last.normalization.channel_axes = {-1};
  // The same values as [N=2, C=2, 3] and as [N=2, 3, C=2].
  const std::vector<double> v = Normals(12, 5, 1e3);
  std::vector<double> transposed;
  for (const std::size_t i :
       {0u, 3u, 1u, 4u, 2u, 5u, 6u, 9u, 7u, 10u, 8u, 11u}) {
    transposed.push_back(v[i]);
  }
  const auto first = Open(quota_, Config(2));
  const auto second = Open(quota_, last);
  const auto a = Forward(*first, Train(1, F64({2, 2, 3}, v)));
  const auto b = Forward(*second, Train(1, F64({2, 3, 2}, transposed)));
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  EXPECT_EQ(a->statistics->mean, b->statistics->mean);
  EXPECT_EQ(a->statistics->inv_std, b->statistics->inv_std);
  EXPECT_EQ(first->GetSnapshot(true).running->var,
            second->GetSnapshot(true).running->var);
}

TEST_F(ForwardTest, NonFiniteInputPropagatesWithinItsChannelIfAllowed) {
  SessionConfig config = Config(2);
  config.non_finite_policy = NonFinitePolicy::kPropagate;
  const auto session = Open(quota_, config);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto bad = Forward(*session, Train(1, F64({2, 2}, {1, nan, 3, 4})));
  ASSERT_THAT(bad, IsOk());
  const std::vector<double> y = Numbers(bad->dtype, bad->y);
  EXPECT_TRUE(std::isnan(y[1]) && std::isnan(y[3]));
  ExpectNear(-1 / std::sqrt(1 + 1e-5L), y[0], kUlp64);
  const auto running = session->GetSnapshot(true).running;
  EXPECT_TRUE(std::isnan(running->mean[1]) && std::isnan(running->var[1]));
  ExpectNear(0.2L, running->mean[0], kUlp64);
}

TEST_F(ForwardTest, OneValueWithUnitCorrectionOrNoDdofGivesBeta) {
  for (const std::uint32_t ddof : {0u, 1u}) {
    SessionConfig config = Config(2);
    config.normalization.running_ddof = ddof;
    config.normalization.degenerate_policy = DegeneratePolicy::kUnitCorrection;
    const auto session = Open(quota_, config);
    ForwardCall call = Train(1, F64({1, 2}, {3, 4}));
    call.beta = F64({2}, {7, 8});
    const auto result = Forward(*session, call);
    ASSERT_THAT(result, IsOk());
    EXPECT_THAT(Numbers(result->dtype, result->y), ElementsAre(7, 8));
    EXPECT_THAT(session->GetSnapshot(true).running->var, ElementsAre(0.9, 0.9));
  }
}

TEST_F(ForwardTest, ConstantChannelWithoutEpsFollowsThePolicy) {
  SessionConfig config = Config(1);
  config.normalization.eps = 0;
  const Tensor constant = F64({2, 1}, {5, 5});
  config.normalization.degenerate_policy = DegeneratePolicy::kUnitCorrection;
  const auto corrected = Forward(*Open(quota_, config), Train(1, constant));
  ASSERT_THAT(corrected, IsOk());
  EXPECT_THAT(Numbers(corrected->dtype, corrected->y), ElementsAre(0, 0));
  EXPECT_THAT(corrected->statistics->inv_std, ElementsAre(0));
  config.normalization.degenerate_policy = DegeneratePolicy::kIeee;
  const auto ieee = Forward(*Open(quota_, config), Train(1, constant));
  ASSERT_THAT(ieee, IsOk());
  EXPECT_TRUE(std::isnan(Numbers(ieee->dtype, ieee->y)[0]));
}

TEST_F(ForwardTest, CountersTellWhatTheSessionDid) {
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Train(1, x_)), IsOk());
  ASSERT_THAT(Forward(*session, Train(2, x_)), IsOk());
  ASSERT_THAT(Forward(*session, Train(2, x_)), IsOk());
  ASSERT_THAT(Forward(*session, Infer(x_)), IsOk());
  ASSERT_THAT(Backward(*session, Gradient(1, dy_)), IsOk());
  const Counters counters = session->GetSnapshot(false).counters;
  EXPECT_EQ(counters.forward_count, 2);
  EXPECT_EQ(counters.replay_count, 1);
  EXPECT_EQ(counters.inference_count, 1);
  EXPECT_EQ(counters.backward_count, 1);
  EXPECT_EQ(counters.evicted_input_count, 0);
}

}  // namespace
}  // namespace batchnorm::session
