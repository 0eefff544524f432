// Forward and Backward: numbers against the textbook, steps and replays.
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

using ::testing::ElementsAre;
using ::testing::Pointwise;

constexpr std::size_t kRows = 7;
constexpr std::size_t kChannels = 3;
const std::vector<double> kGamma = {1.5, -0.25, 2};
const std::vector<double> kBeta = {0.5, 3, -1};

Matrix Batch(std::uint64_t seed) {
  return {kRows, kChannels, Noise(kRows * kChannels, seed)};
}

v1::Tensor ToTensor(const std::vector<double>& values) {
  return F64({kRows, kChannels}, values);
}

v1::ForwardRequest ForwardRequestOf(std::uint64_t step, const Matrix& x) {
  v1::ForwardRequest request;
  request.set_session("s");
  request.set_step(step);
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_gamma() = Channels(kGamma);
  *request.mutable_beta() = Channels(kBeta);
  *request.mutable_x() = ToTensor(x.values);
  return request;
}

v1::BackwardRequest BackwardRequestOf(std::uint64_t step,
                                      const std::vector<double>& dy) {
  v1::BackwardRequest request;
  request.set_session("s");
  request.set_step(step);
  *request.mutable_dy() = ToTensor(dy);
  return request;
}

class ForwardBackward : public ::testing::Test {
 protected:
  ForwardBackward() {
    v1::SessionConfig config;
    config.set_channels(kChannels);
    service_.CreateSession("s", config);
  }

  // The answer and whether trailing metadata called it a replay.
  std::pair<v1::ForwardResponse, bool> ForwardAndReplayed(
      const v1::ForwardRequest& request) {
    const auto context = NewContext();
    v1::ForwardResponse response;
    const grpc::Status status =
        service_.stub().Forward(context.get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    const auto& trailers = context->GetServerTrailingMetadata();
    const auto found = trailers.find("replayed");
    return {response, found != trailers.end() && found->second == "true"};
  }

  RunningServer service_;
};

TEST_F(ForwardBackward, ATrainForwardIsTheTextbooks) {
  const Matrix x = Batch(1);
  const Textbook truth = TrainByTextbook(x, kGamma, kBeta, {}, 1e-5);
  const v1::ForwardResponse response = service_.Forward(ForwardRequestOf(1, x));
  EXPECT_EQ(response.step(), 1U);
  EXPECT_EQ(response.statistics_step(), 0U);
  EXPECT_EQ(response.statistics().count(), 7);
  EXPECT_THAT(F64Values(response.statistics().mean()),
              Pointwise(NearlyEqual(), truth.mean));
  EXPECT_THAT(F64Values(response.statistics().var()),
              Pointwise(NearlyEqual(), truth.var));
  EXPECT_THAT(F64Values(response.statistics().inv_std()),
              Pointwise(NearlyEqual(), truth.inv_std));
  EXPECT_THAT(ShapeOf(response.y()), ElementsAre(kRows, kChannels));
  EXPECT_THAT(F64Values(response.y()), Pointwise(NearlyEqual(), truth.y));
}

TEST_F(ForwardBackward, ABackwardIsTheTextbooks) {
  const Matrix x = Batch(1);
  const std::vector<double> dy = Noise(x.values.size(), 2);
  const Textbook truth = TrainByTextbook(x, kGamma, kBeta, dy, 1e-5);
  service_.Forward(ForwardRequestOf(1, x));
  const v1::BackwardResponse response =
      service_.Backward(BackwardRequestOf(1, dy));
  EXPECT_EQ(response.step(), 1U);
  EXPECT_THAT(F64Values(response.dgamma()),
              Pointwise(NearlyEqual(), truth.dgamma));
  EXPECT_THAT(F64Values(response.dbeta()),
              Pointwise(NearlyEqual(), truth.dbeta));
  EXPECT_THAT(ShapeOf(response.dx()), ElementsAre(kRows, kChannels));
  EXPECT_THAT(F64Values(response.dx()), Pointwise(NearlyEqual(), truth.dx));
}

TEST_F(ForwardBackward, StepsMoveTheRunningStatisticsByATenth) {
  const Matrix x = Batch(3);
  service_.Forward(ForwardRequestOf(1, x));
  const Textbook truth = TrainByTextbook(x, kGamma, kBeta, {}, 1e-5);
  std::vector<double> mean;
  std::vector<double> var;
  for (std::size_t channel = 0; channel < kChannels; ++channel) {
    mean.push_back(0.1 * truth.mean[channel]);
    var.push_back(0.9 + 0.1 * truth.var[channel] * 7 / 6);
  }
  const v1::Session session = service_.GetSession("s");
  EXPECT_EQ(session.last_step(), 1U);
  EXPECT_EQ(session.running_statistics().batch_count(), 1);
  EXPECT_THAT(F64Values(session.running_statistics().mean()),
              Pointwise(NearlyEqual(), mean));
  EXPECT_THAT(F64Values(session.running_statistics().var()),
              Pointwise(NearlyEqual(), var));
}

TEST_F(ForwardBackward, NewWeight1OfACallMakesTheBatchTheRunningStatistics) {
  const Matrix x = Batch(3);
  v1::ForwardRequest request = ForwardRequestOf(1, x);
  request.set_new_weight(1);
  service_.Forward(request);
  EXPECT_THAT(F64Values(service_.GetSession("s").running_statistics().mean()),
              Pointwise(NearlyEqual(),
                        TrainByTextbook(x, kGamma, kBeta, {}, 1e-5).mean));
}

TEST_F(ForwardBackward, InferenceNormalizesWithTheRunningStatistics) {
  service_.Forward(ForwardRequestOf(1, Batch(3)));
  const v1::Session session = service_.GetSession("s");
  const Matrix x = Batch(4);
  v1::ForwardRequest request = ForwardRequestOf(0, x);
  request.set_mode(v1::MODE_INFERENCE);
  const v1::ForwardResponse response = service_.Forward(request);
  EXPECT_EQ(response.step(), 0U);
  EXPECT_EQ(response.statistics_step(), 1U);
  EXPECT_FALSE(response.has_statistics());
  EXPECT_THAT(F64Values(response.y()),
              Pointwise(NearlyEqual(),
                        InferByTextbook(
                            x, kGamma, kBeta, {},
                            F64Values(session.running_statistics().mean()),
                            F64Values(session.running_statistics().var()), 1e-5)
                            .y));
}

TEST_F(ForwardBackward, AReplayGivesTheSameBytesSaysSoAndChangesNothing) {
  const v1::ForwardRequest request = ForwardRequestOf(1, Batch(5));
  const auto [first, first_replayed] = ForwardAndReplayed(request);
  const v1::Session after_first = service_.GetSession("s");
  const auto [second, second_replayed] = ForwardAndReplayed(request);
  EXPECT_FALSE(first_replayed);
  EXPECT_TRUE(second_replayed);
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  const v1::Session after_second = service_.GetSession("s");
  EXPECT_EQ(after_first.running_statistics().SerializeAsString(),
            after_second.running_statistics().SerializeAsString());
  EXPECT_EQ(after_second.last_step(), 1U);
  EXPECT_EQ(after_second.counters().forward_count(), 1);
  EXPECT_EQ(after_second.counters().replay_count(), 1);
}

TEST_F(ForwardBackward, AnEvictedInputIsAskedForAndTheResentOneWorks) {
  rpc::ServerOptions options = LoopbackOptions();
  options.kept_input_bytes = 0;
  const RunningServer forgetful(options);
  v1::SessionConfig config;
  config.set_channels(kChannels);
  forgetful.CreateSession("s", config);
  const Matrix x = Batch(6);
  const std::vector<double> dy = Noise(x.values.size(), 7);
  forgetful.Forward(ForwardRequestOf(1, x));
  v1::BackwardRequest request = BackwardRequestOf(1, dy);
  const grpc::Status evicted = forgetful.StatusOf(request);
  EXPECT_EQ(evicted.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(RefusalOf(evicted).reason, "INPUT_EVICTED");
  *request.mutable_x() = ToTensor(x.values);
  *request.mutable_gamma() = Channels(kGamma);
  const v1::BackwardResponse response = forgetful.Backward(request);
  EXPECT_THAT(
      F64Values(response.dx()),
      Pointwise(NearlyEqual(), TrainByTextbook(x, kGamma, kBeta, dy, 1e-5).dx));
}

TEST_F(ForwardBackward, StepsOutOfOrderAreRefusedAndChangeNothing) {
  service_.Forward(ForwardRequestOf(1, Batch(1)));
  const v1::Session before = service_.GetSession("s");
  const grpc::Status gap = service_.StatusOf(ForwardRequestOf(3, Batch(2)));
  EXPECT_EQ(gap.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(RefusalOf(gap).reason, "STEP_GAP");
  const grpc::Status reused = service_.StatusOf(ForwardRequestOf(1, Batch(2)));
  EXPECT_EQ(reused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RefusalOf(reused).reason, "STEP_REUSED");
  v1::ForwardRequest ahead = ForwardRequestOf(2, Batch(2));
  ahead.set_acknowledged_step(57);
  const grpc::Status lost = service_.StatusOf(ahead);
  EXPECT_EQ(lost.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(RefusalOf(lost).reason, "STEPS_LOST");
  const v1::BackwardRequest future =
      BackwardRequestOf(2, Noise(kRows * kChannels, 2));
  EXPECT_EQ(RefusalOf(service_.StatusOf(future)).reason, "STEP_GAP");
  EXPECT_EQ(before.SerializeAsString(),
            service_.GetSession("s").SerializeAsString());
}

TEST_F(ForwardBackward, AStepThatLeftTheWindowIsTooOld) {
  for (std::uint64_t step = 1; step <= 9; ++step) {
    service_.Forward(ForwardRequestOf(step, Batch(step)));
  }
  const grpc::Status status = service_.StatusOf(ForwardRequestOf(1, Batch(1)));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(RefusalOf(status).reason, "STEP_TOO_OLD");
}

TEST_F(ForwardBackward, TensorsOf32BitsKeepTheirType) {
  std::vector<float> values;
  for (const double value : Noise(kRows * kChannels, 8)) {
    values.push_back(static_cast<float>(value));
  }
  v1::ForwardRequest request = ForwardRequestOf(1, Batch(1));
  *request.mutable_x() = F32({kRows, kChannels}, values);
  const v1::ForwardResponse response = service_.Forward(request);
  const Matrix x{kRows, kChannels, {values.begin(), values.end()}};
  const std::vector<double> truth =
      TrainByTextbook(x, kGamma, kBeta, {}, 1e-5).y;
  const std::vector<float> y = F32Values(response.y());
  ASSERT_EQ(y.size(), truth.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    EXPECT_FLOAT_EQ(y[i], static_cast<float>(truth[i]));
  }
}

struct BadForward {
  const char* reason;
  const char* field;
  void (*spoil)(v1::ForwardRequest&);
};

const BadForward kBadForwards[] = {
    {"BAD_TENSOR", "x", [](v1::ForwardRequest& r) { r.clear_x(); }},
    {"BAD_TENSOR", "x.shape",
     [](v1::ForwardRequest& r) { r.mutable_x()->set_shape(0, -5); }},
    {"BAD_TENSOR", "x.shape",
     [](v1::ForwardRequest& r) { r.mutable_x()->clear_shape(); }},
    {"BAD_TENSOR", "x.shape",
     [](v1::ForwardRequest& r) {
       for (int i = 0; i < 7; ++i) r.mutable_x()->add_shape(1);
     }},
    {"BAD_TENSOR", "x.shape",
     [](v1::ForwardRequest& r) {
       r.mutable_x()->set_shape(0, std::int64_t{1} << 62);
     }},
    {"BAD_TENSOR", "x.data",
     [](v1::ForwardRequest& r) { r.mutable_x()->mutable_data()->pop_back(); }},
    {"BAD_TENSOR", "x.data",
     [](v1::ForwardRequest& r) {
       r.mutable_x()->mutable_data()->push_back(0);
     }},
    {"UNKNOWN_DTYPE", "x.dtype",
     [](v1::ForwardRequest& r) { r.mutable_x()->clear_dtype(); }},
    {"UNKNOWN_DTYPE", "x.dtype",
     [](v1::ForwardRequest& r) {
       r.mutable_x()->set_dtype(static_cast<v1::Dtype>(99));
     }},
    {"UNKNOWN_DTYPE", "gamma.dtype",
     [](v1::ForwardRequest& r) { r.mutable_gamma()->clear_dtype(); }},
    {"UNKNOWN_DTYPE", "beta.dtype",
     [](v1::ForwardRequest& r) { r.mutable_beta()->clear_dtype(); }},
    {"UNKNOWN_MODE", "mode", [](v1::ForwardRequest& r) { r.clear_mode(); }},
    {"UNKNOWN_MODE", "mode",
     [](v1::ForwardRequest& r) { r.set_mode(static_cast<v1::Mode>(7)); }},
    {"WRONG_CHANNELS", "x.shape",
     [](v1::ForwardRequest& r) { *r.mutable_x() = F64({1, 2}, {1, 2}); }},
    {"WRONG_CHANNELS", "gamma.shape",
     [](v1::ForwardRequest& r) { *r.mutable_gamma() = Channels({1, 2}); }},
    {"WRONG_CHANNELS", "beta.shape",
     [](v1::ForwardRequest& r) { *r.mutable_beta() = Channels({1, 2}); }},
    {"BAD_CHANNEL_AXES", "x.shape",
     [](v1::ForwardRequest& r) { *r.mutable_x() = F64({3}, {1, 2, 3}); }},
    {"BAD_NEW_WEIGHT", "new_weight",
     [](v1::ForwardRequest& r) { r.set_new_weight(std::nan("")); }},
    {"BAD_RANK", "rank", [](v1::ForwardRequest& r) { r.set_rank(1); }},
    {"BAD_STEP", "step",
     [](v1::ForwardRequest& r) { r.set_mode(v1::MODE_INFERENCE); }},
    {"NON_FINITE_INPUT", "x",
     [](v1::ForwardRequest& r) {
       std::vector<double> values = Noise(kRows * kChannels, 1);
       values[5] = INFINITY;
       *r.mutable_x() = ToTensor(values);
     }},
    {"TOO_FEW_VALUES", "x",
     [](v1::ForwardRequest& r) { *r.mutable_x() = F64({1, 3}, {1, 2, 3}); }},
};

TEST_F(ForwardBackward, ABadForwardIsRefusedNamingItsFieldAndChangesNothing) {
  const v1::Session before = service_.GetSession("s");
  for (const BadForward& bad : kBadForwards) {
    SCOPED_TRACE(std::string(bad.reason) + " " + bad.field);
    v1::ForwardRequest request = ForwardRequestOf(1, Batch(1));
    bad.spoil(request);
    EXPECT_THAT(
        service_.StatusOf(request),
        Refused(grpc::StatusCode::INVALID_ARGUMENT, bad.reason, bad.field));
  }
  EXPECT_EQ(before.SerializeAsString(),
            service_.GetSession("s").SerializeAsString());
}

TEST_F(ForwardBackward, NonFiniteInputNamesItsChannelAndIndex) {
  std::vector<double> values = Noise(kRows * kChannels, 1);
  values[5] = INFINITY;  // row 1, channel 2
  v1::ForwardRequest request = ForwardRequestOf(1, Batch(1));
  *request.mutable_x() = ToTensor(values);
  const Refusal refusal = RefusalOf(service_.StatusOf(request));
  EXPECT_EQ(refusal.metadata.at("channel"), "2");
  EXPECT_EQ(refusal.metadata.at("flat_index"), "5");
}

TEST_F(ForwardBackward, ZeroVarianceIsRefusedWhereEpsIs0) {
  v1::SessionConfig config;
  config.set_channels(1);
  config.mutable_normalization()->set_eps(0);
  service_.CreateSession("flat", config);
  v1::ForwardRequest request;
  request.set_session("flat");
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({3, 1}, {4, 4, 4});
  EXPECT_THAT(
      service_.StatusOf(request),
      Refused(grpc::StatusCode::INVALID_ARGUMENT, "ZERO_VARIANCE", "x"));
}

struct BadBackward {
  const char* reason;
  const char* field;
  void (*spoil)(v1::BackwardRequest&);
};

const BadBackward kBadBackwards[] = {
    {"BAD_TENSOR", "dy", [](v1::BackwardRequest& r) { r.clear_dy(); }},
    {"BAD_TENSOR", "dy.shape",
     [](v1::BackwardRequest& r) { *r.mutable_dy() = F64({1, 3}, {1, 2, 3}); }},
    {"BAD_TENSOR", "dy.data",
     [](v1::BackwardRequest& r) { r.mutable_dy()->clear_data(); }},
    {"UNKNOWN_DTYPE", "dy.dtype",
     [](v1::BackwardRequest& r) { r.mutable_dy()->clear_dtype(); }},
    {"UNKNOWN_DTYPE", "x.dtype",
     [](v1::BackwardRequest& r) { r.mutable_x()->add_shape(1); }},
    {"BAD_STEP", "step", [](v1::BackwardRequest& r) { r.set_step(0); }},
    {"BAD_RANK", "rank", [](v1::BackwardRequest& r) { r.set_rank(9); }},
};

TEST_F(ForwardBackward, ABadBackwardIsRefusedNamingItsField) {
  service_.Forward(ForwardRequestOf(1, Batch(1)));
  for (const BadBackward& bad : kBadBackwards) {
    SCOPED_TRACE(std::string(bad.reason) + " " + bad.field);
    v1::BackwardRequest request =
        BackwardRequestOf(1, Noise(kRows * kChannels, 2));
    bad.spoil(request);
    EXPECT_THAT(
        service_.StatusOf(request),
        Refused(grpc::StatusCode::INVALID_ARGUMENT, bad.reason, bad.field));
  }
}

TEST_F(ForwardBackward, AnotherXThanTheStepsIsRefused) {
  service_.Forward(ForwardRequestOf(1, Batch(1)));
  v1::BackwardRequest request =
      BackwardRequestOf(1, Noise(kRows * kChannels, 2));
  *request.mutable_x() = ToTensor(Batch(2).values);
  *request.mutable_gamma() = Channels(kGamma);
  EXPECT_EQ(RefusalOf(service_.StatusOf(request)).reason, "STEP_REUSED");
}

}  // namespace
}  // namespace batchnorm::service_test
