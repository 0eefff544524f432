// Structs and messages say the same, and a response that breaks the contract
// is an error that names the field.
#include "client/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "proto/wire/tensor_codec.h"
#include "proto/wire/tensor_values.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor Floats(std::vector<float> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return MakeTensor(values, {size});
}

v1::Tensor VectorOf(std::vector<double> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return wire::ToProto(MakeTensor(values, {size}));
}

v1::BatchStatistics Statistics() {
  v1::BatchStatistics statistics;
  statistics.set_count(6);
  *statistics.mutable_mean() = VectorOf({1, 2});
  *statistics.mutable_mean_lo() = VectorOf({3, 4});
  *statistics.mutable_var() = VectorOf({5, 6});
  *statistics.mutable_inv_std() = VectorOf({7, 8});
  return statistics;
}

void ExpectStatistics(const std::optional<BatchStatistics>& statistics) {
  ASSERT_TRUE(statistics.has_value());
  EXPECT_EQ(statistics->count, 6);
  EXPECT_THAT(statistics->mean, ElementsAre(1, 2));
  EXPECT_THAT(statistics->mean_lo, ElementsAre(3, 4));
  EXPECT_THAT(statistics->var, ElementsAre(5, 6));
  EXPECT_THAT(statistics->inv_std, ElementsAre(7, 8));
}

ForwardReply GoodForwardReply() {
  ForwardReply reply;
  reply.response.set_step(4);
  *reply.response.mutable_statistics() = Statistics();
  *reply.response.mutable_y() = wire::ToProto(Floats({9}));
  return reply;
}

SessionConfig UnusualConfig() {
  return {.channels = 12,
          .normalization = {.channel_axes = {1, -1},
                            .eps = 0,
                            .new_weight = -1.2,
                            .running_ddof = 0,
                            .degenerate_policy = DegeneratePolicy::kIeee},
          .world_size = 3,
          .step_window = 17,
          .gradient_reduction = GradientReduction::kMean,
          .kept_input_policy = KeptInputPolicy::kDiscard,
          .non_finite_policy = NonFinitePolicy::kPropagate};
}

TEST(Messages, AConfigurationComesBackAsItWas) {
  for (const SessionConfig& config :
       {UnusualConfig(), SessionConfig{.channels = 1}}) {
    v1::Session session;
    *session.mutable_config() = ToProto(config);
    const auto info = FromProto(session);
    ASSERT_THAT(info, IsOk());
    EXPECT_EQ(info->config, config);
  }
}

TEST(Messages, ACumulativeAverageComesBackAsOne) {
  SessionConfig config = UnusualConfig();
  config.normalization.new_weight = std::nullopt;
  v1::Session session;
  *session.mutable_config() = ToProto(config);
  EXPECT_TRUE(session.config().normalization().cumulative());
  EXPECT_FALSE(session.config().normalization().has_new_weight());
  EXPECT_EQ(FromProto(session)->config, config);
}

TEST(Messages, EveryPolicyHasTheNameOfTheContract) {
  const auto policy = [](DegeneratePolicy native) {
    return ToProto(Normalization{.degenerate_policy = native})
        .degenerate_policy();
  };
  EXPECT_EQ(policy(DegeneratePolicy::kReject), v1::DEGENERATE_POLICY_REJECT);
  EXPECT_EQ(policy(DegeneratePolicy::kUnitCorrection),
            v1::DEGENERATE_POLICY_UNIT_CORRECTION);
  EXPECT_EQ(policy(DegeneratePolicy::kIeee), v1::DEGENERATE_POLICY_IEEE);
  const v1::SessionConfig first = ToProto(SessionConfig());
  EXPECT_EQ(first.gradient_reduction(), v1::GRADIENT_REDUCTION_LOCAL);
  EXPECT_EQ(first.kept_input_policy(), v1::KEPT_INPUT_POLICY_KEEP);
  EXPECT_EQ(first.non_finite_policy(), v1::NON_FINITE_POLICY_REJECT);
  const v1::SessionConfig last = ToProto(UnusualConfig());
  EXPECT_EQ(last.gradient_reduction(), v1::GRADIENT_REDUCTION_MEAN);
  EXPECT_EQ(last.kept_input_policy(), v1::KEPT_INPUT_POLICY_DISCARD);
  EXPECT_EQ(last.non_finite_policy(), v1::NON_FINITE_POLICY_PROPAGATE);
  const SessionConfig sum{.gradient_reduction = GradientReduction::kSum};
  EXPECT_EQ(ToProto(sum).gradient_reduction(), v1::GRADIENT_REDUCTION_SUM);
}

TEST(Messages, OutputsAndModesHaveTheNamesOfTheContract) {
  const v1::EvaluateRequest request = ToProto(EvaluateArgs{
      .mode = Mode::kInference,
      .outputs = {Output::kY, Output::kStatistics, Output::kRunningStatistics,
                  Output::kDx, Output::kDgamma, Output::kDbeta}});
  EXPECT_EQ(request.mode(), v1::MODE_INFERENCE);
  EXPECT_THAT(request.outputs(),
              ElementsAre(v1::OUTPUT_Y, v1::OUTPUT_STATISTICS,
                          v1::OUTPUT_RUNNING_STATISTICS, v1::OUTPUT_DX,
                          v1::OUTPUT_DGAMMA, v1::OUTPUT_DBETA));
  EXPECT_EQ(ToProto(ForwardArgs()).mode(), v1::MODE_TRAIN);
}

TEST(Messages, ValuesOfANewerContractAreTheDefault) {
  v1::Session session;
  session.mutable_config()->set_non_finite_policy(
      static_cast<v1::NonFinitePolicy>(99));
  const auto info = FromProto(session);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->config.non_finite_policy, NonFinitePolicy::kReject);
  EXPECT_EQ(info->config.step_window, 8U);  // 0 means 8 in the contract
  EXPECT_EQ(info->config.world_size, 1U);   // and here 1
}

TEST(Messages, ASessionArrivesWhole) {
  v1::Session session;
  session.set_name("enc/bn1");
  session.set_last_step(41);
  session.mutable_create_time()->set_seconds(1'700'000'000);
  session.mutable_create_time()->set_nanos(5);
  session.set_kept_input_bytes(1 << 20);
  session.mutable_counters()->set_forward_count(1);
  session.mutable_counters()->set_replay_count(2);
  session.mutable_counters()->set_inference_count(3);
  session.mutable_counters()->set_backward_count(4);
  session.mutable_counters()->set_evicted_input_count(5);
  *session.mutable_running_statistics()->mutable_mean() = VectorOf({0.5});
  *session.mutable_running_statistics()->mutable_var() = VectorOf({2});
  session.mutable_running_statistics()->set_batch_count(40);
  const auto info = FromProto(session);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->name, "enc/bn1");
  EXPECT_EQ(info->last_step, 41U);
  EXPECT_EQ(info->create_time,
            absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(5));
  EXPECT_EQ(info->kept_input_bytes, 1 << 20);
  EXPECT_EQ(info->counters.forward_count, 1);
  EXPECT_EQ(info->counters.replay_count, 2);
  EXPECT_EQ(info->counters.inference_count, 3);
  EXPECT_EQ(info->counters.backward_count, 4);
  EXPECT_EQ(info->counters.evicted_input_count, 5);
  EXPECT_THAT(info->running_statistics->mean, ElementsAre(0.5));
  EXPECT_THAT(info->running_statistics->var, ElementsAre(2));
  EXPECT_EQ(info->running_statistics->batch_count, 40);
}

TEST(Messages, AForwardLeavesOutWhatItWasNotGiven) {
  const v1::ForwardRequest request =
      ToProto(ForwardArgs{.session = "a", .step = 3, .x = Floats({1})});
  EXPECT_EQ(request.session(), "a");
  EXPECT_EQ(request.step(), 3U);
  EXPECT_TRUE(request.has_x());
  EXPECT_FALSE(request.has_gamma());
  EXPECT_FALSE(request.has_beta());
  EXPECT_FALSE(request.has_new_weight());
}

TEST(Messages, AForwardBringsAllItWasGiven) {
  const v1::ForwardRequest request = ToProto(ForwardArgs{.acknowledged_step = 2,
                                                         .rank = 7,
                                                         .new_weight = 0,
                                                         .x = Floats({1}),
                                                         .gamma = Floats({2}),
                                                         .beta = Floats({3})});
  EXPECT_EQ(request.acknowledged_step(), 2U);
  EXPECT_EQ(request.rank(), 7U);
  EXPECT_TRUE(request.has_new_weight());
  EXPECT_EQ(request.x().data(), Floats({1}).data);
  EXPECT_EQ(request.gamma().data(), Floats({2}).data);
  EXPECT_EQ(request.beta().data(), Floats({3}).data);
}

TEST(Messages, TheWritersTokenGoesWithEveryStep) {
  EXPECT_EQ(ToProto(ForwardArgs{.writer_token = "w7"}).writer_token(), "w7");
  EXPECT_EQ(ToProto(BackwardArgs{.writer_token = "w7"}).writer_token(), "w7");
  EXPECT_EQ(ToProto(ForwardArgs()).writer_token(), "");
}

TEST(Messages, ASnapshotComesBackAsItWas) {
  const SessionSnapshot snapshot{.config = UnusualConfig(),
                                 .last_step = 41,
                                 .running_statistics = {{0.5}, {2}, 40},
                                 .format_version = 1,
                                 .checksum = 0xFEDCBA9876543210};
  const auto back = FromProto(ToProto(snapshot));
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->config, snapshot.config);
  EXPECT_EQ(back->last_step, 41U);
  EXPECT_THAT(back->running_statistics.mean, ElementsAre(0.5));
  EXPECT_THAT(back->running_statistics.var, ElementsAre(2));
  EXPECT_EQ(back->running_statistics.batch_count, 40);
  EXPECT_EQ(back->format_version, 1U);
  EXPECT_EQ(back->checksum, 0xFEDCBA9876543210);
}

TEST(Messages, AnEvaluateBringsAllItWasGiven) {
  const v1::EvaluateRequest request =
      ToProto(EvaluateArgs{.running_statistics = RunningStatistics{{1}, {2}, 3},
                           .x = Floats({4}),
                           .gamma = Floats({5}),
                           .beta = Floats({6}),
                           .dy = Floats({7})});
  EXPECT_EQ(request.running_statistics().mean().data(), VectorOf({1}).data());
  EXPECT_EQ(request.running_statistics().var().data(), VectorOf({2}).data());
  EXPECT_EQ(request.running_statistics().batch_count(), 3);
  EXPECT_EQ(request.x().data(), Floats({4}).data);
  EXPECT_EQ(request.gamma().data(), Floats({5}).data);
  EXPECT_EQ(request.beta().data(), Floats({6}).data);
  EXPECT_EQ(request.dy().data(), Floats({7}).data);
}

TEST(Messages, AForwardArrivesWhole) {
  const auto result = FromProto(GoodForwardReply());
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->step, 4U);
  EXPECT_FALSE(result->replayed);
  EXPECT_EQ(result->y.data, Floats({9}).data);
  ExpectStatistics(result->statistics);
}

TEST(Messages, ABackwardArrivesWhole) {
  v1::BackwardResponse response;
  response.set_step(4);
  *response.mutable_dgamma() = VectorOf({1, 2});
  *response.mutable_dbeta() = VectorOf({3, 4});
  *response.mutable_dx() = wire::ToProto(Floats({5}));
  const auto result = FromProto(std::move(response));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->step, 4U);
  EXPECT_THAT(result->dgamma, ElementsAre(1, 2));
  EXPECT_THAT(result->dbeta, ElementsAre(3, 4));
  EXPECT_EQ(result->dx.data, Floats({5}).data);
}

TEST(Messages, AnEvaluateArrivesWithWhatItHas) {
  const auto nothing = FromProto(v1::EvaluateResponse());
  ASSERT_THAT(nothing, IsOk());
  EXPECT_FALSE(nothing->y || nothing->statistics || nothing->dx ||
               nothing->running_statistics || nothing->dgamma ||
               nothing->dbeta);
  v1::EvaluateResponse response;
  *response.mutable_statistics() = Statistics();
  *response.mutable_y() = wire::ToProto(Floats({1}));
  *response.mutable_dx() = wire::ToProto(Floats({2}));
  *response.mutable_dgamma() = VectorOf({3});
  *response.mutable_dbeta() = VectorOf({4});
  *response.mutable_running_statistics()->mutable_mean() = VectorOf({5});
  *response.mutable_running_statistics()->mutable_var() = VectorOf({6});
  const auto all = FromProto(std::move(response));
  ASSERT_THAT(all, IsOk());
  ExpectStatistics(all->statistics);
  EXPECT_EQ(all->y->data, Floats({1}).data);
  EXPECT_EQ(all->dx->data, Floats({2}).data);
  EXPECT_THAT(*all->dgamma, ElementsAre(3));
  EXPECT_THAT(*all->dbeta, ElementsAre(4));
  EXPECT_THAT(all->running_statistics->mean, ElementsAre(5));
  EXPECT_THAT(all->running_statistics->var, ElementsAre(6));
}

TEST(Messages, ATensorWithoutAllItsBytesIsAnError) {
  ForwardReply reply = GoodForwardReply();
  reply.response.mutable_y()->mutable_data()->pop_back();
  const auto result = FromProto(std::move(reply));
  EXPECT_THAT(result, HasCode(absl::StatusCode::kInternal));
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("the server's y breaks the contract: expected a known "
                        "dtype and the bytes that dtype and shape ask, got "
                        "dtype 3, shape [1] and 3 bytes"));
}

TEST(Messages, AForwardWithoutYIsAnError) {
  EXPECT_THAT(FromProto(ForwardReply()), HasCode(absl::StatusCode::kInternal));
}

TEST(Messages, APerChannelVectorIsF64) {
  ForwardReply reply = GoodForwardReply();
  *reply.response.mutable_statistics()->mutable_var() =
      wire::ToProto(Floats({1, 2}));
  const auto result = FromProto(std::move(reply));
  EXPECT_THAT(result, HasCode(absl::StatusCode::kInternal));
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("statistics.var breaks the contract: expected F64"));
}

}  // namespace
}  // namespace batchnorm::client
