// Evaluate: numbers against the textbook, outputs, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/service/refusal.h"
#include "tests/service/running_server.h"
#include "tests/service/textbook.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Pointwise;

constexpr std::size_t kRows = 5;
constexpr std::size_t kChannels = 2;
const std::vector<double> kGamma = {1.5, -0.25};
const std::vector<double> kBeta = {0.5, 3};
const std::vector<double> kRunningMean = {0.25, -1};
const std::vector<double> kRunningVar = {2, 0.5};

Matrix X() { return {kRows, kChannels, Noise(kRows * kChannels, 11)}; }
std::vector<double> Dy() { return Noise(kRows * kChannels, 12); }

v1::EvaluateRequest RequestOf(v1::Mode mode) {
  v1::EvaluateRequest request;
  request.set_mode(mode);
  request.mutable_normalization()->set_eps(0.125);
  *request.mutable_gamma() = Channels(kGamma);
  *request.mutable_beta() = Channels(kBeta);
  *request.mutable_x() = F64({kRows, kChannels}, X().values);
  return request;
}

v1::EvaluateRequest WithDy(v1::EvaluateRequest request) {
  *request.mutable_dy() = F64({kRows, kChannels}, Dy());
  return request;
}

v1::EvaluateRequest WithRunning(v1::EvaluateRequest request) {
  v1::RunningStatistics& running = *request.mutable_running_statistics();
  *running.mutable_mean() = Channels(kRunningMean);
  *running.mutable_var() = Channels(kRunningVar);
  running.set_batch_count(4);
  return request;
}

class Evaluate : public ::testing::Test {
 protected:
  RunningServer service_;
};

TEST_F(Evaluate, TrainWithEverythingIsTheTextbooks) {
  const Textbook truth = TrainByTextbook(X(), kGamma, kBeta, Dy(), 0.125);
  const v1::EvaluateResponse response =
      service_.Evaluate(WithRunning(WithDy(RequestOf(v1::MODE_TRAIN))));
  EXPECT_EQ(response.statistics().count(), 5);
  EXPECT_THAT(F64Values(response.statistics().mean()),
              Pointwise(NearlyEqual(), truth.mean));
  EXPECT_THAT(F64Values(response.statistics().var()),
              Pointwise(NearlyEqual(), truth.var));
  EXPECT_THAT(F64Values(response.y()), Pointwise(NearlyEqual(), truth.y));
  EXPECT_THAT(F64Values(response.dx()), Pointwise(NearlyEqual(), truth.dx));
  EXPECT_THAT(F64Values(response.dgamma()),
              Pointwise(NearlyEqual(), truth.dgamma));
  EXPECT_THAT(F64Values(response.dbeta()),
              Pointwise(NearlyEqual(), truth.dbeta));
  EXPECT_EQ(response.running_statistics().batch_count(), 5);
  const std::vector<double> mean =
      F64Values(response.running_statistics().mean());
  const std::vector<double> var =
      F64Values(response.running_statistics().var());
  for (std::size_t c = 0; c < kChannels; ++c) {
    EXPECT_NEAR(mean[c], 0.9 * kRunningMean[c] + 0.1 * truth.mean[c], 1e-15);
    EXPECT_NEAR(var[c], 0.9 * kRunningVar[c] + 0.1 * truth.var[c] * 5 / 4,
                1e-15);
  }
}

TEST_F(Evaluate, InferenceWithEverythingIsTheTextbooks) {
  const Textbook truth = InferByTextbook(X(), kGamma, kBeta, Dy(), kRunningMean,
                                         kRunningVar, 0.125);
  const v1::EvaluateResponse response =
      service_.Evaluate(WithRunning(WithDy(RequestOf(v1::MODE_INFERENCE))));
  EXPECT_EQ(response.statistics().count(), 0);
  EXPECT_EQ(F64Values(response.statistics().mean()), kRunningMean);
  EXPECT_EQ(F64Values(response.statistics().var()), kRunningVar);
  EXPECT_THAT(F64Values(response.statistics().mean_lo()), Each(0));
  EXPECT_THAT(F64Values(response.statistics().inv_std()),
              Pointwise(NearlyEqual(), truth.inv_std));
  EXPECT_THAT(F64Values(response.y()), Pointwise(NearlyEqual(), truth.y));
  EXPECT_THAT(F64Values(response.dx()), Pointwise(NearlyEqual(), truth.dx));
  EXPECT_THAT(F64Values(response.dgamma()),
              Pointwise(NearlyEqual(), truth.dgamma));
  EXPECT_THAT(F64Values(response.dbeta()),
              Pointwise(NearlyEqual(), truth.dbeta));
  EXPECT_FALSE(response.has_running_statistics());
}

TEST_F(Evaluate, WithoutOutputsItReturnsAllThatTheInputsAllow) {
  const v1::EvaluateResponse plain =
      service_.Evaluate(RequestOf(v1::MODE_TRAIN));
  EXPECT_TRUE(plain.has_y());
  EXPECT_TRUE(plain.has_statistics());
  EXPECT_FALSE(plain.has_running_statistics());
  EXPECT_FALSE(plain.has_dx());
  EXPECT_FALSE(plain.has_dgamma());
  EXPECT_FALSE(plain.has_dbeta());
}

TEST_F(Evaluate, ItReturnsOnlyTheOutputsThatAreNamed) {
  v1::EvaluateRequest request = WithDy(RequestOf(v1::MODE_TRAIN));
  request.add_outputs(v1::OUTPUT_DGAMMA);
  request.add_outputs(v1::OUTPUT_RUNNING_STATISTICS);
  const v1::EvaluateResponse response = service_.Evaluate(request);
  EXPECT_TRUE(response.has_dgamma());
  EXPECT_EQ(response.running_statistics().batch_count(), 1);
  EXPECT_FALSE(response.has_y());
  EXPECT_FALSE(response.has_statistics());
  EXPECT_FALSE(response.has_dx());
  EXPECT_FALSE(response.has_dbeta());
}

TEST_F(Evaluate, WithoutGammaAndBetaItTakesOnesAndZeros) {
  v1::EvaluateRequest request = RequestOf(v1::MODE_TRAIN);
  request.clear_gamma();
  request.clear_beta();
  EXPECT_THAT(F64Values(service_.Evaluate(request).y()),
              Pointwise(NearlyEqual(),
                        TrainByTextbook(X(), {1, 1}, {0, 0}, {}, 0.125).y));
}

TEST_F(Evaluate, ItRemembersNothing) {
  const v1::EvaluateRequest request = WithDy(RequestOf(v1::MODE_TRAIN));
  const std::string first = service_.Evaluate(request).SerializeAsString();
  service_.Evaluate(WithRunning(RequestOf(v1::MODE_INFERENCE)));
  EXPECT_EQ(service_.Evaluate(request).SerializeAsString(), first);
}

TEST_F(Evaluate, NaNSpoilsItsOwnChannelOnly) {
  v1::EvaluateRequest request = RequestOf(v1::MODE_TRAIN);
  Matrix x = X();
  x.values[3] = NAN;  // row 1, channel 1
  *request.mutable_x() = F64({kRows, kChannels}, x.values);
  const std::vector<double> y = F64Values(service_.Evaluate(request).y());
  const std::vector<double> clean =
      F64Values(service_.Evaluate(RequestOf(v1::MODE_TRAIN)).y());
  for (std::size_t row = 0; row < kRows; ++row) {
    EXPECT_EQ(y[row * kChannels], clean[row * kChannels]);
    EXPECT_TRUE(std::isnan(y[row * kChannels + 1]));
  }
}

TEST_F(Evaluate, AnEmptyBatchGivesAnEmptyYAndKeepsTheRunningStatistics) {
  v1::EvaluateRequest request = WithRunning(RequestOf(v1::MODE_TRAIN));
  *request.mutable_x() = F64({0, kChannels}, {});
  const v1::EvaluateResponse response = service_.Evaluate(request);
  EXPECT_THAT(ShapeOf(response.y()), ElementsAre(0, kChannels));
  EXPECT_EQ(response.statistics().count(), 0);
  EXPECT_EQ(F64Values(response.running_statistics().mean()), kRunningMean);
  EXPECT_EQ(response.running_statistics().batch_count(), 4);
}

TEST_F(Evaluate, NoChannelsGiveEmptyResults) {
  v1::EvaluateRequest request;
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({3, 0}, {});
  const v1::EvaluateResponse response = service_.Evaluate(request);
  EXPECT_THAT(ShapeOf(response.y()), ElementsAre(3, 0));
  EXPECT_THAT(ShapeOf(response.statistics().mean()), ElementsAre(0));
}

struct BadEvaluate {
  const char* reason;
  const char* field;
  v1::Mode mode;
  void (*spoil)(v1::EvaluateRequest&);
};

using Request = v1::EvaluateRequest;

const BadEvaluate kBadEvaluates[] = {
    {"UNKNOWN_MODE", "mode", v1::MODE_UNSPECIFIED, [](Request&) {}},
    {"MISSING_INPUT", "x", v1::MODE_TRAIN, [](Request& r) { r.clear_x(); }},
    {"MISSING_INPUT", "dy", v1::MODE_TRAIN,
     [](Request& r) {
       r.clear_dy();
       r.add_outputs(v1::OUTPUT_DX);
     }},
    {"MISSING_INPUT", "running_statistics", v1::MODE_INFERENCE,
     [](Request& r) { r.clear_running_statistics(); }},
    {"MISSING_INPUT", "running_statistics.var", v1::MODE_INFERENCE,
     [](Request& r) { r.mutable_running_statistics()->clear_var(); }},
    {"MISSING_INPUT", "running_statistics.mean", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_running_statistics()->clear_mean(); }},
    {"UNKNOWN_OUTPUT", "outputs", v1::MODE_TRAIN,
     [](Request& r) { r.add_outputs(v1::OUTPUT_UNSPECIFIED); }},
    {"UNKNOWN_OUTPUT", "outputs", v1::MODE_TRAIN,
     [](Request& r) { r.add_outputs(static_cast<v1::Output>(42)); }},
    {"UNKNOWN_OUTPUT", "outputs", v1::MODE_INFERENCE,
     [](Request& r) { r.add_outputs(v1::OUTPUT_RUNNING_STATISTICS); }},
    {"UNKNOWN_DTYPE", "x.dtype", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_x()->clear_dtype(); }},
    {"UNKNOWN_DTYPE", "running_statistics.mean.dtype", v1::MODE_TRAIN,
     [](Request& r) {
       r.mutable_running_statistics()->mutable_mean()->clear_dtype();
     }},
    {"BAD_TENSOR", "x.data", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_x()->mutable_data()->pop_back(); }},
    {"BAD_TENSOR", "dy.shape", v1::MODE_TRAIN,
     [](Request& r) { *r.mutable_dy() = F64({1, 2}, {1, 2}); }},
    {"BAD_TENSOR", "gamma.data", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_gamma()->mutable_data()->pop_back(); }},
    {"BAD_TENSOR", "running_statistics.var", v1::MODE_INFERENCE,
     [](Request& r) {
       *r.mutable_running_statistics()->mutable_var() = Channels({1, -1e-9});
     }},
    {"WRONG_CHANNELS", "gamma.shape", v1::MODE_TRAIN,
     [](Request& r) { *r.mutable_gamma() = Channels({1}); }},
    {"WRONG_CHANNELS", "beta.shape", v1::MODE_TRAIN,
     [](Request& r) { *r.mutable_beta() = Channels({1}); }},
    {"WRONG_CHANNELS", "running_statistics.mean.shape", v1::MODE_TRAIN,
     [](Request& r) {
       *r.mutable_running_statistics()->mutable_mean() = Channels({1});
     }},
    // 24 bytes of request must not become gigabytes of statistics.
    {"WRONG_CHANNELS", "x.shape", v1::MODE_TRAIN,
     [](Request& r) {
       *r.mutable_x() = F64({0, (1 << 20) + 1}, {});
       r.clear_dy();
     }},
    {"BAD_CHANNEL_AXES", "x.shape", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_normalization()->add_channel_axes(2); }},
    {"BAD_CONFIG", "normalization.eps", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_normalization()->set_eps(-1e-30); }},
    {"BAD_CONFIG", "normalization.cumulative", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_normalization()->set_cumulative(false); }},
    {"BAD_CONFIG", "running_statistics.batch_count", v1::MODE_TRAIN,
     [](Request& r) { r.mutable_running_statistics()->set_batch_count(-1); }},
    {"TOO_FEW_VALUES", "x", v1::MODE_TRAIN,
     [](Request& r) {
       r.clear_dy();
       *r.mutable_x() = F64({1, 2}, {1, 2});
     }},
    {"ZERO_VARIANCE", "x", v1::MODE_TRAIN,
     [](Request& r) {
       r.clear_dy();
       r.mutable_normalization()->set_eps(0);
       *r.mutable_x() = F64({2, 2}, {1, 5, 2, 5});
     }},
};

TEST_F(Evaluate, ABadRequestIsRefusedNamingItsField) {
  for (const BadEvaluate& bad : kBadEvaluates) {
    SCOPED_TRACE(std::string(bad.reason) + " " + bad.field);
    v1::EvaluateRequest request = WithRunning(WithDy(RequestOf(bad.mode)));
    bad.spoil(request);
    EXPECT_THAT(
        service_.StatusOf(request),
        Refused(grpc::StatusCode::INVALID_ARGUMENT, bad.reason, bad.field));
  }
}

TEST_F(Evaluate, DegenerateChannelsAreComputedWhereThePolicySaysSo) {
  v1::EvaluateRequest request = RequestOf(v1::MODE_TRAIN);
  request.mutable_normalization()->set_eps(0);
  *request.mutable_x() = F64({2, 2}, {1, 5, 2, 5});
  request.mutable_normalization()->set_degenerate_policy(
      v1::DEGENERATE_POLICY_UNIT_CORRECTION);
  const std::vector<double> corrected =
      F64Values(service_.Evaluate(request).y());
  EXPECT_THAT(corrected, ElementsAre(-1, kBeta[1], 2, kBeta[1]));
  request.mutable_normalization()->set_degenerate_policy(
      v1::DEGENERATE_POLICY_IEEE);
  const std::vector<double> ieee = F64Values(service_.Evaluate(request).y());
  EXPECT_EQ(ieee[0], -1);
  EXPECT_TRUE(std::isnan(ieee[1]));
}

}  // namespace
}  // namespace batchnorm::service_test
