// Writers that fence each other, and sessions that move: Acquire, Export,
// Import.
#include <limits>

#include "server/session/registry.h"
#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using ::testing::ElementsAre;
using Code = absl::StatusCode;

constexpr char kNonce[] = "12345678";
constexpr char kOtherNonce[] = "abcdefgh";

class MovableTest : public ::testing::Test {
 protected:
  absl::StatusOr<ForwardResult> Step(std::uint64_t step,
                                     const std::string& token = "",
                                     std::uint64_t acknowledged = 0) {
    ForwardCall call = Train(step, Batch(step));
    call.writer_token = token;
    call.acknowledged_step = acknowledged;
    return Forward(**registry_.Find("bn"), call);
  }

  static Tensor Batch(std::uint64_t step) {
    return F64({4, 2}, Normals(8, static_cast<unsigned>(step + 1)));
  }

  std::string Token(const char* nonce = kNonce) {
    const auto acquired = registry_.Acquire("bn", 0, 0, nonce);
    EXPECT_THAT(acquired, IsOk());
    return acquired->writer_token;
  }

  void SetUp() override {
    ASSERT_THAT(registry_.Create("bn", Config(2)), IsOk());
    for (std::uint64_t step = 1; step <= 3; ++step) {
      ASSERT_THAT(Step(step), IsOk());
    }
  }

  Registry registry_{RegistryOptions{}};
};

TEST_F(MovableTest, AcquireGivesATokenThatCannotBeGuessedAndTheLastStep) {
  const auto acquired = registry_.Acquire("bn", 0, 3, kNonce);
  ASSERT_THAT(acquired, IsOk());
  EXPECT_EQ(acquired->writer_token.size(), 32u);
  EXPECT_EQ(acquired->last_step, 3u);
  EXPECT_NE(acquired->writer_token, Token(kOtherNonce));
}

TEST_F(MovableTest, TheSameNonceGetsTheSameToken) {
  EXPECT_EQ(Token(kNonce), Token(kNonce));
  const std::string other = Token(kOtherNonce);
  // Another writer came between: the first is not the same one any more.
  EXPECT_NE(Token(kNonce), other);
}

TEST_F(MovableTest, AnotherWriterFencesTheFormer) {
  const std::string former = Token(kNonce);
  ASSERT_THAT(Step(4, former), IsOk());
  const std::string newest = Token(kOtherNonce);
  const auto fenced = Step(5, former);
  EXPECT_THAT(fenced, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(fenced, HasReason("FENCED"));
  EXPECT_THAT(fenced, HasField("writer_token"));
  EXPECT_THAT(Step(5, newest), IsOk());
}

TEST_F(MovableTest, AFencedWriterGetsNoReplayNoGradientAndNoInference) {
  const std::string former = Token(kNonce);
  Token(kOtherNonce);
  EXPECT_THAT(Step(3, former), HasReason("FENCED"));
  const auto session = *registry_.Find("bn");
  BackwardCall backward = Gradient(3, Batch(9));
  backward.writer_token = former;
  EXPECT_THAT(Backward(*session, backward), HasReason("FENCED"));
  ForwardCall infer = Infer(Batch(9));
  infer.writer_token = former;
  EXPECT_THAT(Forward(*session, infer), HasReason("FENCED"));
}

TEST_F(MovableTest, ACallerWithoutATokenIsNotFenced) {
  Token();
  EXPECT_THAT(Step(4), IsOk());
}

TEST_F(MovableTest, ATokenIsRefusedWhereNobodyAcquired) {
  EXPECT_THAT(Step(4, "anything"), HasReason("FENCED"));
}

TEST_F(MovableTest, LostStepsAreSaidBeforeFencedAndFencedBeforeTheStep) {
  EXPECT_THAT(Step(9, "wrong", 8), HasReason("STEPS_LOST"));
  EXPECT_THAT(Step(9, "wrong", 3), HasReason("FENCED"));
  EXPECT_THAT(Step(9, "", 3), HasReason("STEP_GAP"));
}

TEST_F(MovableTest, BelowAtLeastStepNobodyIsFenced) {
  const std::string token = Token(kNonce);
  const auto lost = registry_.Acquire("bn", 0, 4, kOtherNonce);
  EXPECT_THAT(lost, StatusIs(Code::kDataLoss));
  EXPECT_THAT(lost, HasReason("STEPS_LOST"));
  EXPECT_THAT(lost, HasField("at_least_step"));
  EXPECT_THAT(Step(4, token), IsOk());
}

TEST_F(MovableTest, BadNoncesRanksAndNamesAreRefused) {
  for (const std::string& nonce :
       {std::string(), std::string(7, 'n'), std::string(65, 'n')}) {
    EXPECT_THAT(registry_.Acquire("bn", 0, 0, nonce), HasReason("BAD_NONCE"));
  }
  EXPECT_THAT(registry_.Acquire("bn", 1, 0, kNonce), HasReason("BAD_RANK"));
  EXPECT_THAT(registry_.Acquire("none", 0, 0, kNonce),
              StatusIs(Code::kNotFound));
}

TEST_F(MovableTest, AnExportedSessionIsImportedBitForBit) {
  const auto exported = registry_.Export("bn");
  ASSERT_THAT(exported, IsOk());
  EXPECT_EQ(exported->last_step, 3u);
  const auto copy = registry_.Import("copy", *exported, false, "");
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(copy->last_step, 3u);
  EXPECT_EQ(copy->running->mean, exported->running.mean);
  EXPECT_EQ(copy->running->var, exported->running.var);
  EXPECT_EQ(copy->running->batch_count, 3);
  // Both go on alike.
  ASSERT_THAT(Step(4), IsOk());
  ASSERT_THAT(Forward(**registry_.Find("copy"), Train(4, Batch(4))), IsOk());
  EXPECT_EQ(registry_.Get("copy")->running->var,
            registry_.Get("bn")->running->var);
}

TEST_F(MovableTest, ImportMayBeSentAgain) {
  const auto exported = registry_.Export("bn");
  ASSERT_THAT(registry_.Import("copy", *exported, false, ""), IsOk());
  EXPECT_THAT(registry_.Import("copy", *exported, false, ""), IsOk());
  EXPECT_EQ(registry_.session_count(), 2);
}

TEST_F(MovableTest, AnotherSessionIsNotReplacedUnasked) {
  const auto exported = registry_.Export("bn");
  ASSERT_THAT(Step(4), IsOk());
  const auto refused = registry_.Import("bn", *exported, false, "");
  EXPECT_THAT(refused, StatusIs(Code::kAlreadyExists));
  EXPECT_THAT(refused, HasReason("SESSION_EXISTS"));
  EXPECT_EQ(registry_.Get("bn")->last_step, 4u);
}

TEST_F(MovableTest, ReplaceGoesBackAndForward) {
  const auto early = registry_.Export("bn");
  ASSERT_THAT(Step(4), IsOk());
  const auto late = registry_.Export("bn");
  ASSERT_THAT(registry_.Import("bn", *early, true, ""), IsOk());
  EXPECT_EQ(registry_.Get("bn")->last_step, 3u);
  EXPECT_EQ(registry_.Get("bn")->running->mean, early->running.mean);
  ASSERT_THAT(registry_.Import("bn", *late, true, ""), IsOk());
  EXPECT_EQ(registry_.Get("bn")->last_step, 4u);
  EXPECT_EQ(registry_.Get("bn")->running->mean, late->running.mean);
}

TEST_F(MovableTest, ReplaceEmptiesTheWindowAndDropsKeptInputs) {
  ASSERT_GT(registry_.Get("bn")->kept_input_bytes, 0);
  ASSERT_THAT(registry_.Import("bn", *registry_.Export("bn"), true, ""),
              IsOk());
  EXPECT_EQ(registry_.Get("bn")->kept_input_bytes, 0);
  EXPECT_THAT(Step(3), HasReason("STEP_TOO_OLD"));
  const auto session = *registry_.Find("bn");
  EXPECT_THAT(Backward(*session, Gradient(3, Batch(1))),
              HasReason("INPUT_EVICTED"));
  EXPECT_THAT(Step(4), IsOk());
}

TEST_F(MovableTest, ReplaceFencesAllButTheWriterThatDoesIt) {
  const std::string token = Token();
  const auto exported = *registry_.Export("bn");
  ASSERT_THAT(registry_.Import("bn", exported, true, token), IsOk());
  EXPECT_THAT(Step(4, token), IsOk());
  ASSERT_THAT(registry_.Import("bn", exported, true, ""), IsOk());
  EXPECT_THAT(Step(4, token), HasReason("FENCED"));
  EXPECT_THAT(registry_.Import("bn", exported, true, token),
              HasReason("FENCED"));
}

TEST_F(MovableTest, ReplaceNeedsTheSameConfiguration) {
  auto exported = *registry_.Export("bn");
  exported.config.normalization.eps = 0.5;
  exported.checksum = 0;
  const auto refused = registry_.Import("bn", exported, true, "");
  EXPECT_THAT(refused, HasReason("CONFIG_DIFFERS"));
  EXPECT_THAT(refused, HasField("config.normalization.eps"));
}

TEST_F(MovableTest, SnapshotsThatAreNotWholeAreRefused) {
  const ExportedSession good = *registry_.Export("bn");
  ExportedSession bad = good;
  bad.running.var[1] += 1e-9;
  EXPECT_THAT(registry_.Import("c", bad, false, ""),
              HasField("snapshot.checksum"));
  bad = good;
  bad.running.mean.pop_back();
  EXPECT_THAT(registry_.Import("c", bad, false, ""),
              HasField("snapshot.running_statistics.mean"));
  bad = good;
  bad.running.batch_count = -1;
  EXPECT_THAT(registry_.Import("c", bad, false, ""), HasReason("BAD_SNAPSHOT"));
  bad = good;
  bad.config.channels = 0;
  EXPECT_THAT(registry_.Import("c", bad, false, ""), HasReason("BAD_CONFIG"));
  EXPECT_EQ(registry_.session_count(), 1);
}

TEST_F(MovableTest, ASnapshotOfANewerFormatIsRefused) {
  ExportedSession newer = *registry_.Export("bn");
  newer.format_version = 2;
  const auto refused = registry_.Import("c", newer, false, "");
  EXPECT_THAT(refused, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(refused, HasReason("NEWER_FORMAT"));
}

TEST_F(MovableTest, ASnapshotOfOthersNeedsNoChecksum) {
  ExportedSession foreign;
  foreign.config = Config(2);
  foreign.running = {.mean = {1, 2}, .var = {3, 4}, .batch_count = 12};
  const auto imported = registry_.Import("torch", foreign, false, "");
  ASSERT_THAT(imported, IsOk());
  EXPECT_EQ(imported->last_step, 0u);
  EXPECT_THAT(imported->running->var, ElementsAre(3, 4));
}

TEST_F(MovableTest, StatisticsThatAreNotFiniteMoveToo) {
  ExportedSession odd = *registry_.Export("bn");
  odd.running.mean[0] = std::numeric_limits<double>::quiet_NaN();
  odd.checksum = 0;
  ASSERT_THAT(registry_.Import("odd", odd, false, ""), IsOk());
  EXPECT_THAT(registry_.Import("odd", odd, false, ""), IsOk());
}

}  // namespace
}  // namespace batchnorm::session
