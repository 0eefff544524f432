// The gradients of a step, with x kept, evicted or sent again.
#include <cmath>
#include <functional>
#include <limits>

#include "tests/unit/session/reference.h"
#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using Code = absl::StatusCode;
using Real = reference::Real;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr Real kUlp64 = std::numeric_limits<double>::epsilon();

class BackwardTest : public SessionTest {
 protected:
  const Tensor gamma_ = F64({2}, {2, -0.5});

  std::shared_ptr<Session> Trained(SessionConfig config, int steps = 1) {
    return Trained(quota_, std::move(config), steps);
  }

  // Steps of x_ with gamma_, which in session's eyes differ in number only.
  std::shared_ptr<Session> Trained(InputQuota& quota, SessionConfig config,
                                   int steps) {
    auto session = Open(quota, std::move(config));
    for (int i = 0; i < steps; ++i) {
      ForwardCall call = Train(0, x_);
      call.gamma = gamma_;
      EXPECT_THAT(Forward(*session, call), IsOk());
    }
    return session;
  }
};

void ExpectEqualGradients(const BackwardResult& a, const BackwardResult& b) {
  EXPECT_EQ(a.dgamma, b.dgamma);
  EXPECT_EQ(a.dbeta, b.dbeta);
  EXPECT_EQ(a.dx, b.dx);
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.shape, b.shape);
}

void ExpectTrueGradients(const BackwardResult& result,
                         const std::vector<double>& x,
                         const std::vector<double>& dy,
                         const std::vector<double>& gamma, Real eps) {
  const std::size_t channels = gamma.size();
  const std::vector<double> dx = Numbers(result.dtype, result.dx);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % channels;
    const auto statistics = reference::Statistics(x, channels, c, eps);
    const auto truth = reference::Backward(x, dy, channels, c, statistics);
    // Terms are of size 1 and there are few: 64 ULP of 1 is generous to the
    // reference's own rounding and far below any wrong formula.
    EXPECT_LE(std::abs(static_cast<Real>(result.dgamma[c]) - truth.dgamma),
              64 * kUlp64);
    EXPECT_LE(std::abs(static_cast<Real>(result.dbeta[c]) - truth.dbeta),
              64 * kUlp64);
    const Real expected = reference::Dx(
        x[i], dy[i], static_cast<Real>(gamma[c]), statistics, truth);
    EXPECT_LE(std::abs(static_cast<Real>(dx[i]) - expected), 64 * kUlp64);
  }
}

TEST_F(BackwardTest, NeedsOnlyDyAndMatchesTheDefinition) {
  const std::vector<double> x = Normals(60, 1, 2);
  const std::vector<double> dy = Normals(60, 2);
  const std::vector<double> gamma = {2, -0.5, 1};
  const auto session = Open(quota_, Config(3));
  ForwardCall call = Train(1, F64({20, 3}, x));
  call.gamma = F64({3}, gamma);
  ASSERT_THAT(Forward(*session, call), IsOk());
  const auto result = Backward(*session, Gradient(1, F64({20, 3}, dy)));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->step, 1u);
  EXPECT_EQ(result->shape, (Shape{20, 3}));
  ExpectTrueGradients(*result, x, dy, gamma, 1e-5);
}

TEST_F(BackwardTest, DxHasTheDtypeOfXAndDyAnyDtype) {
  const std::vector<double> dy = {1, 0, 0, 2, 3, -1, 0.5, 1};
  const auto session = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*session, Train(1, x_)), IsOk());
  const auto wide = Backward(*session, Gradient(1, F64({4, 2}, dy)));
  ASSERT_THAT(wide, IsOk());
  for (const Tensor& narrow : {F32({4, 2}, dy), BF16({4, 2}, dy)}) {
    const auto result = Backward(*session, Gradient(1, narrow));
    ASSERT_THAT(result, IsOk());
    ExpectEqualGradients(*result, *wide);
  }
  const auto other = Open(quota_, Config(2));
  ASSERT_THAT(Forward(*other, Train(1, F32({4, 2}, Normals(8, 1)))), IsOk());
  const auto result = Backward(*other, Gradient(1, F64({4, 2}, dy)));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->dtype, kernel::Dtype::kF32);
  EXPECT_EQ(result->dx.size(), 32u);
}

TEST_F(BackwardTest, IsPureAndTakesAnyDyAnyNumberOfTimes) {
  const auto session = Trained(Config(2), 2);
  const auto first = Backward(*session, Gradient(1, dy_));
  const auto other = Backward(*session, Gradient(1, other_x_));
  const auto again = Backward(*session, Gradient(1, dy_));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT(again, IsOk());
  ExpectEqualGradients(*first, *again);
  EXPECT_NE(first->dx, other->dx);
  EXPECT_EQ(session->GetSnapshot(false).last_step, 2u);
}

TEST_F(BackwardTest, UsesTheGammaOfItsStep) {
  const auto session = Open(quota_, Config(2));
  ForwardCall call = Train(1, x_);
  call.gamma = F64({2}, {2, -0.5});
  ASSERT_THAT(Forward(*session, call), IsOk());
  call.step = 2;
  call.gamma = F64({2}, {4, -1});
  ASSERT_THAT(Forward(*session, call), IsOk());
  const auto one = Backward(*session, Gradient(1, dy_));
  const auto two = Backward(*session, Gradient(2, dy_));
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());
  EXPECT_EQ(one->dgamma, two->dgamma);
  const std::vector<double> dx1 = Numbers(one->dtype, one->dx);
  const std::vector<double> dx2 = Numbers(two->dtype, two->dx);
  for (std::size_t i = 0; i < dx1.size(); ++i) EXPECT_EQ(2 * dx1[i], dx2[i]);
}

TEST_F(BackwardTest, ResentInputGivesTheSameBytesAsTheKept) {
  const auto session = Trained(Config(2));
  const auto kept = Backward(*session, Gradient(1, dy_));
  const auto resent = Backward(*session, Resend(Gradient(1, dy_), x_, gamma_));
  ASSERT_THAT(kept, IsOk());
  ASSERT_THAT(resent, IsOk());
  ExpectEqualGradients(*kept, *resent);
}

TEST_F(BackwardTest, AnEvictedInputIsAskedFor) {
  SessionConfig config = Config(2);
  config.kept_input_policy = KeptInputPolicy::kDiscard;
  InputQuota nothing(0);
  for (const auto& session :
       {Trained(config), Trained(nothing, Config(2), 1)}) {
    EXPECT_EQ(session->GetSnapshot(false).kept_input_bytes, 0);
    const auto result = Backward(*session, Gradient(1, dy_));
    EXPECT_THAT(result, StatusIs(Code::kFailedPrecondition));
    EXPECT_THAT(result, HasReason("INPUT_EVICTED"));
    EXPECT_THAT(result, HasField("x"));
    EXPECT_THAT(result, HasText("x and gamma"));
    EXPECT_THAT(result, HasText("window 8"));
    EXPECT_THAT(Backward(*session, Resend(Gradient(1, dy_), x_, gamma_)),
                IsOk());
  }
}

TEST_F(BackwardTest, OutsideTheWindowItWorksWithXAndGammaSentAgain) {
  SessionConfig config = Config(2);
  config.step_window = 1;
  const auto session = Trained(config, 3);
  EXPECT_THAT(Backward(*session, Gradient(1, dy_)), HasReason("INPUT_EVICTED"));
  const auto kept = Backward(*session, Gradient(3, dy_));
  const auto old = Backward(*session, Resend(Gradient(1, dy_), x_, gamma_));
  ASSERT_THAT(kept, IsOk());
  ASSERT_THAT(old, IsOk());
  ExpectEqualGradients(*kept, *old);
}

TEST_F(BackwardTest, WithinTheWindowAnotherXOrGammaReusesTheStep) {
  const auto session = Trained(Config(2));
  const BackwardCall cases[] = {
      Resend(Gradient(1, dy_), other_x_, gamma_),
      Resend(Gradient(1, dy_), x_),
      Resend(Gradient(1, dy_), x_, F64({2}, {2, 0.5})),
      Resend(Gradient(1, dy_), F32({4, 2}, {1, 5, 2, 6, 3, 7, 4, 9}), gamma_),
  };
  for (const BackwardCall& call : cases) {
    const auto result = Backward(*session, call);
    EXPECT_THAT(result, StatusIs(Code::kInvalidArgument));
    EXPECT_THAT(result, HasReason("STEP_REUSED"));
  }
}

TEST_F(BackwardTest, OnlyTakenStepsHaveGradients) {
  const auto session = Trained(Config(2), 2);
  for (const BackwardCall& call :
       {Gradient(3, dy_), Resend(Gradient(3, dy_), x_, gamma_)}) {
    const auto result = Backward(*session, call);
    EXPECT_THAT(result, StatusIs(Code::kFailedPrecondition));
    EXPECT_THAT(result, HasReason("STEP_GAP"));
    EXPECT_THAT(result, HasMetadata("last_step", "2"));
  }
}

TEST_F(BackwardTest, AcknowledgedBeyondTheLastIsDataLossFirst) {
  const auto session = Trained(Config(2), 2);
  BackwardCall call = Gradient(9, dy_);
  call.acknowledged_step = 9;
  EXPECT_THAT(Backward(*session, call), StatusIs(Code::kDataLoss));
  EXPECT_THAT(Backward(*session, Resend(call, x_, gamma_)),
              HasReason("STEPS_LOST"));
}

struct BadCall {
  std::function<void(BackwardCall&)> change;
  std::string reason;
  std::string field;
  std::string text;
};

TEST_F(BackwardTest, EachBadArgumentIsNamed) {
  const BadCall cases[] = {
      {[](auto& c) { c.step = 0; }, "BAD_STEP", "step", "got 0"},
      {[](auto& c) { c.rank = 1; }, "BAD_RANK", "rank", "got 1"},
      {[this](auto& c) { c.gamma = gamma_; }, "MISSING_INPUT", "x",
       "got gamma alone"},
      {[](auto& c) { c.dy = Tensor(); }, "BAD_TENSOR", "dy.shape", "got 0"},
      {[](auto& c) { c.dy.shape = {4, 3}; }, "BAD_TENSOR", "dy.data",
       "expected 96 bytes for f64 [4,3], got 64"},
      {[](auto& c) { c.dy.shape = {2, 4}; }, "BAD_TENSOR", "dy.shape",
       "expected the shape of x, [4,2], got [2,4]"},
      {[this](auto& c) {
         c.x = x_;
         c.x->shape = {4, 1};
       },
       "BAD_TENSOR", "x.data", "expected 32 bytes"},
      {[this](auto& c) {
         c.x = x_;
         c.x->shape = {2, 4};
       },
       "WRONG_CHANNELS", "x.shape", "expected 2 channels"},
      {[this](auto& c) {
         c.x = x_;
         c.gamma = F64({3}, {1, 2, 3});
       },
       "WRONG_CHANNELS", "gamma.shape", "got 3"},
  };
  const auto session = Trained(Config(2));
  const Snapshot before = session->GetSnapshot(true);
  for (const BadCall& bad : cases) {
    BackwardCall call = Gradient(1, dy_);
    bad.change(call);
    const auto result = Backward(*session, call);
    EXPECT_THAT(result, StatusIs(Code::kInvalidArgument));
    EXPECT_THAT(result, HasReason(bad.reason));
    EXPECT_THAT(result, HasField(bad.field));
    EXPECT_THAT(result, HasText(bad.text));
  }
  ExpectSame(before, session->GetSnapshot(true));
}

TEST_F(BackwardTest, AReplyThatFitsNoMessageIsRefused) {
  // Only x sent again outside the window can be larger than its Forward's.
  SessionConfig config = Config(2);
  config.step_window = 1;
  const auto session = Open(quota_, config, {.max_reply_bytes = 2000});
  ASSERT_THAT(Forward(*session, Train(1, x_)), IsOk());
  ASSERT_THAT(Forward(*session, Train(2, x_)), IsOk());
  const Tensor large = F32({200, 2}, Normals(400, 1));
  const auto result = Backward(*session, Resend(Gradient(1, large), large));
  EXPECT_THAT(result, StatusIs(Code::kResourceExhausted));
  EXPECT_THAT(result, HasReason("TOO_LARGE_FOR_UNARY"));
}

TEST_F(BackwardTest, NonFiniteDyPropagatesWithinItsChannel) {
  const auto session = Trained(Config(2));
  for (const double bad : {kNan, kInf}) {
    const auto result = Backward(
        *session, Gradient(1, F64({4, 2}, {1, 1, bad, 2, 3, 3, 4, 5})));
    ASSERT_THAT(result, IsOk());
    const std::vector<double> dx = Numbers(result->dtype, result->dx);
    EXPECT_FALSE(std::isfinite(result->dbeta[0]));
    EXPECT_TRUE(std::isnan(result->dgamma[0]) || std::isinf(result->dgamma[0]));
    for (const std::size_t i : {0u, 2u, 4u, 6u}) EXPECT_TRUE(std::isnan(dx[i]));
    EXPECT_EQ(result->dbeta[1], 11);
    for (const std::size_t i : {1u, 3u, 5u, 7u})
      EXPECT_TRUE(std::isfinite(dx[i]));
  }
}

TEST_F(BackwardTest, AnEmptyStepHasGradientsOfZero) {
  const auto session = Open(quota_, Config(2));
  const Tensor empty = F32({0, 2}, {});
  ASSERT_THAT(Forward(*session, Train(1, empty)), IsOk());
  for (const BackwardCall& call :
       {Gradient(1, empty), Resend(Gradient(1, empty), empty)}) {
    const auto result = Backward(*session, call);
    ASSERT_THAT(result, IsOk());
    EXPECT_THAT(result->dgamma, ElementsAre(0, 0));
    EXPECT_THAT(result->dbeta, ElementsAre(0, 0));
    EXPECT_EQ(result->dx, "");
    EXPECT_EQ(result->shape, (Shape{0, 2}));
  }
}

TEST_F(BackwardTest, GammaZeroGivesDxZeroAndDgammaAllTheSame) {
  const auto session = Open(quota_, Config(2));
  ForwardCall call = Train(1, x_);
  call.gamma = F64({2}, {0, 0});
  ASSERT_THAT(Forward(*session, call), IsOk());
  const auto result = Backward(*session, Gradient(1, dy_));
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(Numbers(result->dtype, result->dx), Each(0));
  EXPECT_NE(result->dgamma[0], 0);
}

TEST_F(BackwardTest, OneValueWithoutDdofHasDxAndDgammaZero) {
  SessionConfig config = Config(2);
  config.normalization.running_ddof = 0;
  const auto session = Open(quota_, config);
  ASSERT_THAT(Forward(*session, Train(1, F64({1, 2}, {3, 4}))), IsOk());
  const auto result = Backward(*session, Gradient(1, F64({1, 2}, {5, 6})));
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(Numbers(result->dtype, result->dx), ElementsAre(0, 0));
  EXPECT_THAT(result->dgamma, ElementsAre(0, 0));
  EXPECT_THAT(result->dbeta, ElementsAre(5, 6));
}

TEST_F(BackwardTest, NonFiniteXOfAPropagatingSessionGivesNanInItsChannel) {
  SessionConfig config = Config(2);
  config.non_finite_policy = NonFinitePolicy::kPropagate;
  const auto session = Open(quota_, config);
  ASSERT_THAT(Forward(*session, Train(1, F64({2, 2}, {kInf, 1, 2, 3}))),
              IsOk());
  const auto result =
      Backward(*session, Gradient(1, F64({2, 2}, {1, 1, 2, 3})));
  ASSERT_THAT(result, IsOk());
  const std::vector<double> dx = Numbers(result->dtype, result->dx);
  EXPECT_TRUE(std::isnan(dx[0]) && std::isnan(dx[2]));
  EXPECT_TRUE(std::isfinite(dx[1]) && std::isfinite(dx[3]));
  EXPECT_EQ(result->dbeta[0], 3);
}

TEST_F(BackwardTest, ResentXThatNoForwardWouldHaveTakenIsRefused) {
  SessionConfig config = Config(2);
  config.step_window = 1;
  const auto session = Trained(config, 2);
  const Tensor one_value = F64({1, 2}, {1, 2});
  const auto result =
      Backward(*session, Resend(Gradient(1, one_value), one_value));
  EXPECT_THAT(result, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(result, HasReason("TOO_FEW_VALUES"));
}

TEST_F(BackwardTest, ResentXOutsideTheWindowMayBeNonFinite) {
  SessionConfig config = Config(2);
  config.step_window = 1;
  const auto session = Trained(config, 2);
  EXPECT_THAT(
      Backward(*session, Resend(Gradient(1, dy_),
                                F64({4, 2}, {kNan, 5, 2, 6, 3, 7, 4, 9}))),
      IsOk());
}

}  // namespace
}  // namespace batchnorm::session
