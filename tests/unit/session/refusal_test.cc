// Forwards that are refused: the code, the reason, the field, what the text
// says, and that the session is as it was.
#include <functional>
#include <limits>

#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using Code = absl::StatusCode;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

class RefusalTest : public SessionTest {
 protected:
  // A session two steps old.
  std::shared_ptr<Session> Used(SessionConfig config,
                                TensorLimits limits = {}) {
    auto session = Open(quota_, std::move(config), limits);
    EXPECT_THAT(Forward(*session, Train(1, x_)), IsOk());
    EXPECT_THAT(Forward(*session, Train(2, other_x_)), IsOk());
    return session;
  }

  // The status of a call that must be refused and change nothing.
  absl::Status Refused(Session& session, const ForwardCall& call) {
    const Snapshot before = session.GetSnapshot(true);
    absl::Status status = Forward(session, call).status();
    ExpectSame(before, session.GetSnapshot(true));
    return status;
  }
};

struct BadCall {
  std::function<void(ForwardCall&)> change;
  std::string reason;
  std::string field;
  std::string text;
};

TEST_F(RefusalTest, EachBadArgumentIsNamed) {
  constexpr std::int64_t kTwo60 = std::int64_t{1} << 60;
  const BadCall cases[] = {
      {[](auto& c) { c.x = Tensor(); }, "BAD_TENSOR", "x.shape", "got 0"},
      {[&](auto& c) { c.x.shape = {16, kTwo60 + 2}; }, "BAD_TENSOR", "x.shape",
       "element count overflow"},
      {[&](auto& c) { c.x.shape = {2, kTwo60 + 2}; }, "BAD_TENSOR", "x.shape",
       "byte size overflow"},
      {[](auto& c) { c.x.shape = {4, -2}; }, "BAD_TENSOR", "x.shape", "got -2"},
      {[](auto& c) { c.x.shape = {4, 3}; }, "BAD_TENSOR", "x.data",
       "expected 96 bytes for f64 [4,3], got 64"},
      {[](auto& c) { c.x.shape = {8}; }, "BAD_CHANNEL_AXES", "x.shape",
       "got [8]"},
      {[](auto& c) { c.x.shape = {2, 4}; }, "WRONG_CHANNELS", "x.shape",
       "expected 2 channels in axes [1], got 4 in [2,4]"},
      {[](auto& c) { c.gamma = F64({3}, {1, 2, 3}); }, "WRONG_CHANNELS",
       "gamma.shape", "expected 2 values, one a channel, got 3"},
      {[](auto& c) { c.gamma = F64({0}, {}); }, "WRONG_CHANNELS", "gamma.shape",
       "got 0"},
      {[](auto& c) { c.gamma = F64({2}, {1}); }, "BAD_TENSOR", "gamma.data",
       "expected 16 bytes for f64 [2], got 8"},
      {[](auto& c) { c.beta = F32({1}, {1}); }, "WRONG_CHANNELS", "beta.shape",
       "got 1"},
      {[](auto& c) { c.beta = Tensor(); }, "BAD_TENSOR", "beta.shape", "got 0"},
      {[](auto& c) { c.new_weight = kNan; }, "BAD_NEW_WEIGHT", "new_weight",
       "got nan"},
      {[](auto& c) { c.new_weight = -kInf; }, "BAD_NEW_WEIGHT", "new_weight",
       "got -inf"},
      {[](auto& c) { c.rank = 1; }, "BAD_RANK", "rank",
       "expected less than the world size, 1, got 1"},
      {[](auto& c) { c.mode = Mode::kInference; }, "BAD_STEP", "step", "got 3"},
  };
  const auto session = Used(Config(2));
  for (const BadCall& bad : cases) {
    ForwardCall call = Train(3, x_);
    bad.change(call);
    const absl::Status status = Refused(*session, call);
    EXPECT_THAT(status, StatusIs(Code::kInvalidArgument));
    EXPECT_THAT(status, HasReason(bad.reason));
    EXPECT_THAT(status, HasField(bad.field));
    EXPECT_THAT(status, HasText(bad.text));
  }
}

TEST_F(RefusalTest, NonFiniteInputIsNamedByChannelAndIndex) {
  const auto session = Used(Config(2));
  // [1, 2, 3, 2]: the first bad element is [0, 1, 1, 0], flat 8.
  std::vector<double> values(12, 1.5);
  values[8] = -kInf;
  values[11] = kNan;
  const absl::Status status =
      Refused(*session, Train(3, F32({1, 2, 3, 2}, values)));
  EXPECT_THAT(status, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(status, HasReason("NON_FINITE_INPUT"));
  EXPECT_THAT(status, HasField("x"));
  EXPECT_THAT(status, HasMetadata("channel", "1"));
  EXPECT_THAT(status, HasMetadata("flat_index", "8"));
  EXPECT_THAT(status, HasMetadata("index", "0,1,1,0"));
  EXPECT_THAT(status, HasText("got -inf at [0,1,1,0] (flat index 8), "
                              "in channel 1"));
}

TEST_F(RefusalTest, OneBadElementAnywhereIsFoundInEveryDtype) {
  const auto session = Used(Config(2));
  for (std::size_t at = 0; at < 8; ++at) {
    std::vector<double> values(8, 1.5);
    values[at] = kNan;
    for (const Tensor& x :
         {F32({4, 2}, values), F64({4, 2}, values), BF16({4, 2}, values)}) {
      const absl::Status status = Refused(*session, Train(3, x));
      EXPECT_THAT(status, HasReason("NON_FINITE_INPUT"));
      EXPECT_THAT(status, HasMetadata("flat_index", std::to_string(at)));
      EXPECT_THAT(status, HasMetadata("channel", std::to_string(at % 2)));
    }
  }
}

TEST_F(RefusalTest, HugeFiniteNumbersAreNotNonFinite) {
  const auto session = Open(quota_, Config(1));
  const double huge = std::numeric_limits<double>::max();
  EXPECT_THAT(Forward(*session, Train(1, F64({3, 1}, {huge, huge, -huge}))),
              IsOk());
}

TEST_F(RefusalTest, OneValueAChannelIsTooFewForAnUnbiasedVariance) {
  const auto session = Used(Config(2));
  const absl::Status status = Refused(*session, Train(3, F64({1, 2}, {1, 2})));
  EXPECT_THAT(status, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(status, HasReason("TOO_FEW_VALUES"));
  EXPECT_THAT(status, HasMetadata("channel", "0"));
  EXPECT_THAT(status, HasText("got 1 in channel 0"));
}

TEST_F(RefusalTest, AConstantChannelWithoutEpsIsNamed) {
  SessionConfig config = Config(2);
  config.normalization.eps = 0;
  const auto session = Used(config);
  const absl::Status status =
      Refused(*session, Train(3, F64({2, 2}, {1, 5, 2, 5})));
  EXPECT_THAT(status, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(status, HasReason("ZERO_VARIANCE"));
  EXPECT_THAT(status, HasMetadata("channel", "1"));
}

TEST_F(RefusalTest, OneValueIsEnoughWhereDdofIsZero) {
  SessionConfig config = Config(2);
  config.normalization.running_ddof = 0;
  const auto session = Open(quota_, config);
  const auto result = Forward(*session, Train(1, F64({1, 2}, {1, 2})));
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(Numbers(result->dtype, result->y), ::testing::ElementsAre(0, 0));
}

TEST_F(RefusalTest, ATensorAboveTheLimitIsTooLarge) {
  const auto session = Used(Config(2), {.max_tensor_bytes = 64});
  const absl::Status status =
      Refused(*session, Train(3, F64({5, 2}, Normals(10, 1))));
  EXPECT_THAT(status, StatusIs(Code::kResourceExhausted));
  EXPECT_THAT(status, HasReason("TENSOR_TOO_LARGE"));
  EXPECT_THAT(status, HasText("expected at most 64 bytes, got 80"));
}

TEST_F(RefusalTest, AReplyThatFitsNoMessageIsRefusedBeforeAnythingIsApplied) {
  const auto session = Used(Config(2), {.max_reply_bytes = 2000});
  const absl::Status status =
      Refused(*session, Train(3, F64({500, 2}, Normals(1000, 1))));
  EXPECT_THAT(status, StatusIs(Code::kResourceExhausted));
  EXPECT_THAT(status, HasReason("TOO_LARGE_FOR_UNARY"));
  EXPECT_THAT(status, HasText("at most 2000 bytes"));
  // Not even a step that would be refused for its number is looked at.
  EXPECT_THAT(Refused(*session, Train(9, F64({500, 2}, Normals(1000, 1)))),
              HasReason("TOO_LARGE_FOR_UNARY"));
}

TEST_F(RefusalTest, AStepBeyondTheNextIsAGap) {
  const auto session = Used(Config(2));
  const absl::Status status = Refused(*session, Train(4, x_));
  EXPECT_THAT(status, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(status, HasReason("STEP_GAP"));
  EXPECT_THAT(status, HasMetadata("last_step", "2"));
  EXPECT_THAT(status, HasMetadata("expected_step", "3"));
}

TEST_F(RefusalTest, AStepThatLeftTheWindowIsTooOld) {
  SessionConfig config = Config(2);
  config.step_window = 1;
  const auto session = Used(config);
  const absl::Status status = Refused(*session, Train(1, x_));
  EXPECT_THAT(status, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(status, HasReason("STEP_TOO_OLD"));
  EXPECT_THAT(status, HasText("window 1"));
}

TEST_F(RefusalTest, AnAcknowledgedStepThatTheServerLacksIsDataLoss) {
  const auto session = Used(Config(2));
  for (const Mode mode : {Mode::kTrain, Mode::kInference}) {
    ForwardCall call = Infer(x_);
    call.mode = mode;
    call.acknowledged_step = 57;
    const absl::Status status = Refused(*session, call);
    EXPECT_THAT(status, StatusIs(Code::kDataLoss));
    EXPECT_THAT(status, HasReason("STEPS_LOST"));
    EXPECT_THAT(status, HasMetadata("last_step", "2"));
  }
}

TEST_F(RefusalTest, DataLossIsSaidBeforeStepOrder) {
  const auto session = Used(Config(2));
  ForwardCall call = Train(9, x_);
  call.acknowledged_step = 8;
  EXPECT_THAT(Refused(*session, call), HasReason("STEPS_LOST"));
}

TEST_F(RefusalTest, StepOrderIsSaidBeforeTheBatchIsLookedAt) {
  const auto session = Used(Config(2));
  EXPECT_THAT(Refused(*session, Train(9, F64({1, 2}, {kNan, 1}))),
              HasReason("STEP_GAP"));
}

}  // namespace
}  // namespace batchnorm::session
