// A Layer over a mock: which step each call names, and what is held for it.
#include "client/layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/mock_connection.h"
#include "proto/wire/tensor_codec.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::Return;

Tensor Floats(std::vector<float> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return MakeTensor(values, {size});
}

absl::Status Fenced() {
  return ServerError(absl::StatusCode::kFailedPrecondition, "FENCED");
}

absl::Status Evicted() {
  return ServerError(absl::StatusCode::kFailedPrecondition, "INPUT_EVICTED");
}

// Answers every Forward and Backward as a server would, and records them.
class LayerTest : public ::testing::Test {
 protected:
  LayerTest() {
    ON_CALL(*connection_, Forward)
        .WillByDefault([this](const v1::ForwardRequest& request) {
          return TakeForward(request);
        });
    ON_CALL(*connection_, Backward)
        .WillByDefault([this](const v1::BackwardRequest& request) {
          return TakeBackward(request);
        });
    ON_CALL(*connection_, AcquireSession)
        .WillByDefault([this](const v1::AcquireSessionRequest& request) {
          return TakeAcquire(request);
        });
    ON_CALL(*connection_, GetSession)
        .WillByDefault([this](const v1::GetSessionRequest&) {
          v1::GetSessionResponse response;
          response.mutable_session()->set_last_step(server_step_);
          return response;
        });
  }

  absl::StatusOr<ForwardReply> TakeForward(const v1::ForwardRequest& request) {
    forwards_.push_back(request);
    ForwardReply reply;
    reply.response.set_step(request.step());
    *reply.response.mutable_y() = request.x();
    return reply;
  }

  absl::StatusOr<v1::BackwardResponse> TakeBackward(
      const v1::BackwardRequest& request) {
    backwards_.push_back(request);
    if (evicts_ && !request.has_x()) return Evicted();
    v1::BackwardResponse response;
    response.set_step(request.step());
    *response.mutable_dgamma() = VectorOfOne();
    *response.mutable_dbeta() = VectorOfOne();
    *response.mutable_dx() = request.dy();
    return response;
  }

  absl::StatusOr<v1::AcquireSessionResponse> TakeAcquire(
      const v1::AcquireSessionRequest& request) {
    acquires_.push_back(request);
    v1::AcquireSessionResponse response;
    response.set_writer_token("w" + std::to_string(acquires_.size()));
    response.set_last_step(server_step_);
    return response;
  }

  v1::Tensor VectorOfOne() {
    return wire::ToProto(MakeTensor(std::vector<double>{1}, {1}));
  }

  Layer MakeLayer(SessionInfo session = {}) {
    session.name = "enc.bn1";
    return Layer(connection_, session);
  }

  std::vector<std::uint64_t> ForwardSteps() const {
    std::vector<std::uint64_t> steps;
    steps.reserve(forwards_.size());
    for (const auto& request : forwards_) steps.push_back(request.step());
    return steps;
  }

  std::shared_ptr<::testing::NiceMock<MockConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockConnection>>();
  std::vector<v1::ForwardRequest> forwards_;
  std::vector<v1::BackwardRequest> backwards_;
  std::vector<v1::AcquireSessionRequest> acquires_;
  bool evicts_ = false;
  std::uint64_t server_step_ = 0;
};

TEST_F(LayerTest, NumbersStepsFromOne) {
  Layer layer = MakeLayer();
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 1U);
  EXPECT_EQ(layer.Forward({.x = Floats({2})})->step, 2U);
  EXPECT_EQ(layer.last_step(), 2U);
  EXPECT_EQ(forwards_[0].mode(), v1::MODE_TRAIN);
  EXPECT_EQ(forwards_[0].session(), "enc.bn1");
}

TEST_F(LayerTest, AcknowledgesTheLastStepItHasSeen) {
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Forward({.x = Floats({2})}), IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({3})}), IsOk());
  EXPECT_EQ(forwards_[0].acknowledged_step(), 0U);
  EXPECT_EQ(forwards_[1].acknowledged_step(), 1U);
  EXPECT_EQ(backwards_[0].acknowledged_step(), 2U);
}

TEST_F(LayerTest, ContinuesAfterTheLastStepOfAnExistingSession) {
  Layer layer = MakeLayer({.last_step = 41});
  EXPECT_EQ(layer.last_step(), 41U);
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 42U);
  EXPECT_EQ(forwards_[0].acknowledged_step(), 41U);
}

TEST_F(LayerTest, OpensTheSessionOfItsName) {
  v1::CreateSessionResponse response;
  response.mutable_session()->set_name("made/by.server");
  response.mutable_session()->set_last_step(6);
  EXPECT_CALL(*connection_, CreateSession).WillOnce(Return(response));
  auto layer = Client(connection_).OpenLayer("", {.channels = 1});
  ASSERT_THAT(layer, IsOk());
  EXPECT_EQ(layer->name(), "made/by.server");
  EXPECT_EQ(layer->Forward({.x = Floats({1})})->step, 7U);
}

TEST_F(LayerTest, AFailedForwardDoesNotMoveTheStep) {
  EXPECT_CALL(*connection_, Forward)
      .WillOnce(Return(
          ServerError(absl::StatusCode::kInvalidArgument, "NON_FINITE_INPUT")))
      .WillOnce(Return(absl::UnavailableError("gone")))
      .WillRepeatedly(
          [this](const auto& request) { return TakeForward(request); });
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(layer.Forward({.x = Floats({1})}),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_EQ(layer.last_step(), 0U);
  EXPECT_EQ(layer.open_steps(), 0U);
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 1U);
}

TEST_F(LayerTest, InferenceTakesNoStepAndHoldsNothing) {
  const Layer layer = MakeLayer({.last_step = 5});
  EXPECT_THAT(layer.Infer({.x = Floats({1}), .gamma = Floats({2})}), IsOk());
  EXPECT_EQ(forwards_[0].mode(), v1::MODE_INFERENCE);
  EXPECT_EQ(forwards_[0].step(), 0U);
  EXPECT_EQ(forwards_[0].gamma().data(), Floats({2}).data);
  EXPECT_EQ(layer.last_step(), 5U);
  EXPECT_EQ(layer.open_steps(), 0U);
}

TEST_F(LayerTest, BackwardLeavesXAtHomeWhileTheServerKeepsIt) {
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  const auto gradients = layer.Backward({.step = 1, .dy = Floats({7})});
  ASSERT_THAT(gradients, IsOk());
  EXPECT_EQ(gradients->dx.data, Floats({7}).data);
  ASSERT_EQ(backwards_.size(), 1U);
  EXPECT_FALSE(backwards_[0].has_x());
  EXPECT_FALSE(backwards_[0].has_gamma());
}

TEST_F(LayerTest, AnEvictedInputIsSentAgainWithItsGamma) {
  evicts_ = true;
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1, 2}), .gamma = Floats({3})}),
              IsOk());
  EXPECT_THAT(layer.Forward({.x = Floats({4, 5}), .gamma = Floats({6})}),
              IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({7, 8})}), IsOk());
  ASSERT_EQ(backwards_.size(), 2U);
  EXPECT_EQ(backwards_[1].step(), 1U);
  EXPECT_EQ(backwards_[1].x().data(), Floats({1, 2}).data);
  EXPECT_EQ(backwards_[1].gamma().data(), Floats({3}).data);
  EXPECT_EQ(backwards_[1].dy().data(), Floats({7, 8}).data);
}

TEST_F(LayerTest, AStepWithoutGammaIsSentAgainWithoutGamma) {
  evicts_ = true;
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({7})}), IsOk());
  EXPECT_FALSE(backwards_[1].has_gamma());
}

TEST_F(LayerTest, AServerThatKeepsNothingGetsXAtOnce) {
  SessionInfo session;
  session.config.kept_input_policy = KeptInputPolicy::kDiscard;
  evicts_ = true;
  Layer layer = MakeLayer(session);
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({7})}), IsOk());
  ASSERT_EQ(backwards_.size(), 1U);
  EXPECT_EQ(backwards_[0].x().data(), Floats({1}).data);
}

TEST_F(LayerTest, EvictedAndNoLongerHeldIsTheCallersToKnow) {
  evicts_ = true;
  Layer layer = MakeLayer({.last_step = 3});
  EXPECT_THAT(
      layer.Backward({.step = 3, .dy = Floats({7})}),
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "INPUT_EVICTED"));
  EXPECT_EQ(backwards_.size(), 1U);
}

TEST_F(LayerTest, AServerThatEvictsWhatItIsSentIsNotAskedForEver) {
  EXPECT_CALL(*connection_, Backward)
      .Times(2)
      .WillRepeatedly(Return(Evicted()));
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(
      layer.Backward({.step = 1, .dy = Floats({7})}),
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "INPUT_EVICTED"));
}

TEST_F(LayerTest, BackwardClosesItsStep) {
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Forward({.x = Floats({2})}), IsOk());
  EXPECT_EQ(layer.open_steps(), 2U);
  EXPECT_THAT(layer.Backward({.step = 2, .dy = Floats({7})}), IsOk());
  EXPECT_EQ(layer.open_steps(), 1U);
}

TEST_F(LayerTest, AFailedBackwardKeepsItsStepOpen) {
  EXPECT_CALL(*connection_, Backward)
      .WillOnce(Return(absl::UnavailableError("gone")));
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({7})}),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_EQ(layer.open_steps(), 1U);
}

TEST_F(LayerTest, AStepMayBeKeptOpenForAnotherBackward) {
  evicts_ = true;
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  for (const float dy : {7.0F, 8.0F}) {
    EXPECT_THAT(layer.Backward(
                    {.step = 1, .dy = Floats({dy}), .keep_open = dy == 7.0F}),
                IsOk());
    EXPECT_EQ(backwards_.back().x().data(), Floats({1}).data);
    EXPECT_EQ(backwards_.back().dy().data(), Floats({dy}).data);
  }
  EXPECT_EQ(layer.open_steps(), 0U);
}

TEST_F(LayerTest, AStepThatLeavesTheWindowIsHeldNoLonger) {
  SessionInfo session;
  session.config.step_window = 3;
  Layer layer = MakeLayer(session);
  for (float value = 1; value <= 5; ++value) {
    EXPECT_THAT(layer.Forward({.x = Floats({value})}), IsOk());
  }
  EXPECT_EQ(layer.open_steps(), 3U);
  evicts_ = true;
  EXPECT_THAT(
      layer.Backward({.step = 2, .dy = Floats({7})}),
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "INPUT_EVICTED"));
  EXPECT_THAT(layer.Backward({.step = 3, .dy = Floats({7})}), IsOk());
  EXPECT_EQ(backwards_.back().x().data(), Floats({3}).data);
}

TEST_F(LayerTest, ResumeSkipsAStepWhoseReplyWasLost) {
  Layer layer = MakeLayer({.last_step = 3});
  server_step_ = 4;
  EXPECT_THAT(layer.Resume(), IsOk());
  EXPECT_EQ(layer.last_step(), 4U);
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 5U);
}

TEST_F(LayerTest, ResumeNeverGoesBackSilently) {
  Layer layer = MakeLayer({.last_step = 57});
  server_step_ = 41;
  const absl::Status status = layer.Resume();
  EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(std::string(status.message()),
            "session enc.bn1 is at step 41, but step 57 was acknowledged");
  EXPECT_EQ(layer.last_step(), 57U);
}

TEST_F(LayerTest, WithoutAcquireNoTokenIsSent) {
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_EQ(forwards_[0].writer_token(), "");
}

TEST_F(LayerTest, AcquireMakesItTheWriterAndContinuesAfterTheLastStep) {
  Layer layer = MakeLayer({.last_step = 41});
  server_step_ = 43;
  EXPECT_THAT(layer.Acquire(40), IsOk());
  EXPECT_EQ(layer.last_step(), 43U);
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 44U);
  EXPECT_THAT(layer.Backward({.step = 44, .dy = Floats({2})}), IsOk());
  EXPECT_THAT(layer.Infer({.x = Floats({3})}), IsOk());
  EXPECT_EQ(acquires_[0].name(), "enc.bn1");
  EXPECT_EQ(forwards_[0].writer_token(), "w1");
  EXPECT_EQ(backwards_[0].writer_token(), "w1");
  EXPECT_EQ(forwards_[1].writer_token(), "w1");
}

TEST_F(LayerTest, AnInputThatIsSentAgainGoesWithTheToken) {
  evicts_ = true;
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Acquire(0), IsOk());
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({7})}), IsOk());
  ASSERT_EQ(backwards_.size(), 2U);
  EXPECT_EQ(backwards_[1].writer_token(), "w1");
}

TEST_F(LayerTest, AcquireAsksForTheLaterOfTheCheckpointsStepAndItsOwn) {
  Layer layer = MakeLayer({.last_step = 41});
  server_step_ = 50;
  EXPECT_THAT(layer.Acquire(40), IsOk());
  EXPECT_THAT(layer.Acquire(57), IsOk());
  EXPECT_EQ(acquires_[0].at_least_step(), 41U);
  EXPECT_EQ(acquires_[1].at_least_step(), 57U);
}

TEST_F(LayerTest, AFailedAcquireChangesNothing) {
  EXPECT_CALL(*connection_, AcquireSession)
      .WillOnce([this](const auto& request) { return TakeAcquire(request); })
      .WillOnce(Return(ServerError(absl::StatusCode::kDataLoss, "STEPS_LOST")));
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Acquire(0), IsOk());
  EXPECT_THAT(layer.Acquire(9),
              HasCodeAndReason(absl::StatusCode::kDataLoss, "STEPS_LOST"));
  EXPECT_EQ(layer.Forward({.x = Floats({1})})->step, 1U);
  EXPECT_EQ(forwards_[0].writer_token(), "w1");
}

TEST_F(LayerTest, ALayerThatIsFencedNeverTakesTheSessionBackByItself) {
  EXPECT_CALL(*connection_, AcquireSession)
      .WillOnce([this](const auto& request) { return TakeAcquire(request); });
  EXPECT_CALL(*connection_, Forward)
      .Times(3)
      .WillRepeatedly([this](const v1::ForwardRequest& request) {
        forwards_.push_back(request);
        return Fenced();
      });
  EXPECT_CALL(*connection_, Backward).WillOnce(Return(Fenced()));
  const auto is_fenced =
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "FENCED");
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Acquire(0), IsOk());
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), is_fenced);
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), is_fenced);
  EXPECT_THAT(layer.Backward({.step = 1, .dy = Floats({1})}), is_fenced);
  EXPECT_THAT(layer.Infer({.x = Floats({1})}), is_fenced);
  EXPECT_THAT(layer.Resume(), IsOk());  // reads; the token stays the old one
  for (const v1::ForwardRequest& request : forwards_) {
    EXPECT_EQ(request.writer_token(), "w1");
  }
}

TEST_F(LayerTest, RestoreGoesBackToASnapshotAndKeepsTheToken) {
  v1::ImportSessionRequest imported;
  EXPECT_CALL(*connection_, ImportSession)
      .WillOnce([&](const v1::ImportSessionRequest& request) {
        imported = request;
        return v1::ImportSessionResponse();
      });
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Acquire(0), IsOk());
  for (float value = 1; value <= 3; ++value) {
    EXPECT_THAT(layer.Forward({.x = Floats({value})}), IsOk());
  }
  EXPECT_THAT(layer.Restore({.config = {.channels = 1}, .last_step = 2}),
              IsOk());
  EXPECT_EQ(imported.name(), "enc.bn1");
  EXPECT_EQ(imported.snapshot().last_step(), 2U);
  EXPECT_TRUE(imported.replace());
  EXPECT_EQ(imported.writer_token(), "w1");
  EXPECT_EQ(layer.last_step(), 2U);
  EXPECT_EQ(layer.open_steps(), 0U);
  EXPECT_EQ(layer.Forward({.x = Floats({4})})->step, 3U);
  EXPECT_EQ(forwards_.back().acknowledged_step(), 2U);
  EXPECT_EQ(forwards_.back().writer_token(), "w1");
}

TEST_F(LayerTest, AFailedRestoreChangesNothing) {
  EXPECT_CALL(*connection_, ImportSession)
      .WillOnce(Return(
          ServerError(absl::StatusCode::kInvalidArgument, "BAD_SNAPSHOT")));
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
  EXPECT_THAT(
      layer.Restore({}),
      HasCodeAndReason(absl::StatusCode::kInvalidArgument, "BAD_SNAPSHOT"));
  EXPECT_EQ(layer.last_step(), 1U);
  EXPECT_EQ(layer.open_steps(), 1U);
}

TEST_F(LayerTest, ForwardsOfManyThreadsTakeOneStepEach) {
  Layer layer = MakeLayer();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&layer] {
      for (int k = 0; k < 50; ++k) {
        EXPECT_THAT(layer.Forward({.x = Floats({1})}), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::uint64_t> expected(200);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = i + 1;
  EXPECT_EQ(ForwardSteps(), expected);
}

TEST_F(LayerTest, XIsMovedThroughTheCallAndHeldNotCopied) {
  const char* sent = nullptr;
  EXPECT_CALL(*connection_, Forward)
      .WillOnce([&](const v1::ForwardRequest& request) {
        sent = request.x().data().data();
        return TakeForward(request);
      });
  Tensor x = MakeTensor(std::vector<float>(1000), {1000});
  const char* bytes = x.data.data();
  Layer layer = MakeLayer();
  EXPECT_THAT(layer.Forward({.x = std::move(x)}), IsOk());
  EXPECT_EQ(sent, bytes);
}

}  // namespace
}  // namespace batchnorm::client
