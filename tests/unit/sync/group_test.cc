// What a group does when nothing goes as planned: all ranks take a step, or
// none does, and each can always ask again.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/storage/memory_store.h"
#include "tests/unit/sync/group_fixture.h"

namespace batchnorm::session {
namespace {

using Code = absl::StatusCode;

constexpr char kNonce[] = "12345678";

// Two ranks of two channels, each with a shard.
class TwoRanksTest : public GroupTest {
 protected:
  void SetUp() override { Start(GroupConfig(2, 2)); }

  // A session must not outlive its registry.
  void Start(const SessionConfig& config) {
    group_.reset();
    registry_ = std::make_unique<Registry>(StoredOptions());
    group_ = Make(*registry_, "group", config);
  }

  // As a server that was killed and started again.
  void Restart() {
    group_.reset();
    registry_.reset();
    registry_ = std::make_unique<Registry>(StoredOptions());
    group_ = *registry_->Find("group");
  }

  RegistryOptions StoredOptions() {
    RegistryOptions options = Options();
    options.store = &store_;
    return options;
  }

  static ForwardCall ForwardOf(std::uint32_t rank, std::uint64_t step = 1) {
    return OfRank(rank, Train(step, rank == 0 ? X0() : X1()));
  }
  static BackwardCall BackwardOf(std::uint32_t rank, std::uint64_t step = 1) {
    return OfRank(rank, Gradient(step, rank == 0 ? Dy0() : Dy1()));
  }

  // The step is taken by both.
  std::vector<ForwardResult> TakeStep(std::uint64_t step) {
    const auto first = Begin(*group_, ForwardOf(0, step));
    const auto second = Begin(*group_, ForwardOf(1, step));
    EXPECT_THAT(**first, IsOk());
    EXPECT_THAT(**second, IsOk());
    return {(*first)->value(), (*second)->value()};
  }
  std::vector<BackwardResult> TakeGradients(std::uint64_t step) {
    const auto first = Begin(*group_, BackwardOf(0, step));
    const auto second = Begin(*group_, BackwardOf(1, step));
    EXPECT_THAT(**first, IsOk());
    EXPECT_THAT(**second, IsOk());
    return {(*first)->value(), (*second)->value()};
  }

  template <typename Result>
  void ExpectAborted(const Reply<Result>& reply, const char* reason) {
    ASSERT_TRUE(reply->has_value());
    EXPECT_THAT(**reply, StatusIs(Code::kAborted));
    EXPECT_THAT(**reply, HasReason(reason));
    EXPECT_TRUE(DetailOf((*reply)->status())->retry_after.has_value());
  }

  static Tensor X0() { return F64({3, 2}, {1, 5, 2, 6, 3, 9}); }
  static Tensor X1() { return F64({1, 2}, {-4, 0.5}); }
  static Tensor Dy0() { return F64({3, 2}, {1, 0, 0, 2, 3, -1}); }
  static Tensor Dy1() { return F64({1, 2}, {0.5, 1}); }
  static Tensor Whole() { return F64({4, 2}, {1, 5, 2, 6, 3, 9, -4, 0.5}); }
  static Tensor WholeDy() { return F64({4, 2}, {1, 0, 0, 2, 3, -1, 0.5, 1}); }

  storage::MemoryStore store_;
  std::unique_ptr<Registry> registry_;
  std::shared_ptr<Session> group_;
};

// ---- Exactly once

TEST_F(TwoRanksTest, ARankThatAsksAgainGetsTheSameBytes) {
  const auto taken = TakeStep(1);
  for (const std::uint32_t rank : {1u, 0u}) {
    const auto again = Forward(*group_, ForwardOf(rank));
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(again->replayed);
    EXPECT_EQ(again->y, taken[rank].y);
  }
  EXPECT_EQ(group_->GetSnapshot(true).last_step, 1u);
  EXPECT_EQ(group_->GetSnapshot(true).counters.forward_count, 1);
}

TEST_F(TwoRanksTest, AGradientIsTakenOnceAndAnsweredAgain) {
  TakeStep(1);
  const auto taken = TakeGradients(1);
  for (const std::uint32_t rank : {0u, 1u}) {
    const auto again = Backward(*group_, BackwardOf(rank));
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ(again->dx, taken[rank].dx);
    EXPECT_EQ(again->dgamma, taken[rank].dgamma);
  }
  EXPECT_THAT(Backward(*group_, OfRank(0, Gradient(1, X0()))),
              HasReason("STEP_REUSED"));
}

TEST_F(TwoRanksTest, APassIsAGradientOfItsOwn) {
  TakeStep(1);
  TakeGradients(1);
  const auto in_pass = [](std::uint32_t pass, BackwardCall call) {
    call.pass = pass;
    return call;
  };
  const auto first = Begin(*group_, in_pass(3, OfRank(0, Gradient(1, X0()))));
  EXPECT_FALSE(first->has_value());
  const auto second = Begin(*group_, in_pass(3, BackwardOf(1)));
  EXPECT_THAT(**first, IsOk());
  EXPECT_THAT(**second, IsOk());
  EXPECT_THAT(Backward(*group_, in_pass(16, BackwardOf(0))),
              HasReason("BAD_PASS"));
}

TEST_F(TwoRanksTest, ARestartLosesNothingThatWasTaken) {
  const auto taken = TakeStep(1);
  const auto gradients = TakeGradients(1);
  const Snapshot before = group_->GetSnapshot(true);
  Restart();
  EXPECT_EQ(group_->GetSnapshot(true).running->mean, before.running->mean);
  EXPECT_EQ(group_->GetSnapshot(true).running->var, before.running->var);
  for (const std::uint32_t rank : {0u, 1u}) {
    const auto again = Forward(*group_, ForwardOf(rank));
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(again->replayed);
    EXPECT_EQ(again->y, taken[rank].y);
    // The inputs are gone, the gradient is not.
    EXPECT_THAT(Backward(*group_, BackwardOf(rank)),
                HasReason("INPUT_EVICTED"));
    const auto gradient =
        Backward(*group_, Resend(BackwardOf(rank), rank == 0 ? X0() : X1()));
    ASSERT_THAT(gradient, IsOk());
    EXPECT_EQ(gradient->dx, gradients[rank].dx);
    EXPECT_EQ(gradient->dgamma, gradients[rank].dgamma);
  }
}

TEST_F(TwoRanksTest, AGradientAfterARestartWaitsForAllRanks) {
  TakeStep(1);
  Restart();
  const auto first = Begin(*group_, Resend(BackwardOf(0), X0()));
  EXPECT_FALSE(first->has_value());
  const auto second = Begin(*group_, Resend(BackwardOf(1), X1()));
  EXPECT_THAT(**first, IsOk());
  EXPECT_THAT(**second, IsOk());
  EXPECT_THAT(Backward(*group_, Resend(BackwardOf(1), X0())),
              HasReason("STEP_REUSED"));
}

TEST_F(TwoRanksTest, AStepThatHasLeftTheWindowIsTooOld) {
  for (std::uint64_t step = 1; step <= 9; ++step) TakeStep(step);
  EXPECT_THAT(Backward(*group_, BackwardOf(0, 1)), HasReason("STEP_TOO_OLD"));
  EXPECT_THAT(Forward(*group_, ForwardOf(0, 1)), HasReason("STEP_TOO_OLD"));
}

// ---- Waiting

TEST_F(TwoRanksTest, WhoeverAsksAgainTakesItsPlace) {
  const auto first = Begin(*group_, ForwardOf(0));
  const auto again = Begin(*group_, ForwardOf(0));
  ExpectAborted(first, "CALL_REPLACED");
  EXPECT_FALSE(again->has_value());
  EXPECT_THAT(Forward(*group_, ForwardOf(1)), IsOk());
  EXPECT_THAT(**again, IsOk());
}

TEST_F(TwoRanksTest, AnotherBatchIsNotTakenForTheOneThatWaits) {
  const auto first = Begin(*group_, ForwardOf(0));
  EXPECT_THAT(Forward(*group_, OfRank(0, Train(1, X1()))),
              HasReason("STEP_REUSED"));
  EXPECT_FALSE(first->has_value());
}

TEST_F(TwoRanksTest, AnotherBatchIsTakenIfTheOneThatWaitsIsFenced) {
  ForwardCall fenced = ForwardOf(0);
  fenced.writer_token = group_->Acquire(0, 0, kNonce)->writer_token;
  const auto first = Begin(*group_, fenced);
  ForwardCall call = OfRank(0, Train(1, Dy0()));
  call.writer_token = group_->Acquire(0, 0, "another nonce")->writer_token;
  const auto second = Begin(*group_, call);
  ExpectAborted(first, "RANK_REFUSED");
  EXPECT_FALSE(second->has_value());
  EXPECT_THAT(Forward(*group_, ForwardOf(1)), IsOk());
  EXPECT_THAT(**second, IsOk());
}

TEST_F(TwoRanksTest, AllWaitersAreToldTheSameAboutAMissingRank) {
  ASSERT_THAT(registry_->Update("group", 4, 0), IsOk());
  const auto first = Begin(*group_, ForwardOf(0));
  now_ += absl::Seconds(10);
  const auto second = Begin(*group_, ForwardOf(1));
  now_ += absl::Seconds(19);
  registry_->AbortOverdueBarriers();
  EXPECT_FALSE(first->has_value());
  now_ += absl::Seconds(1);
  registry_->AbortOverdueBarriers();
  ExpectAborted(first, "RANK_MISSING");
  ExpectAborted(second, "RANK_MISSING");
  EXPECT_EQ((*first)->status(), (*second)->status());
  EXPECT_THAT(**first, HasMetadata("step", "1"));
  EXPECT_THAT(**first, HasMetadata("phase", "Forward"));
  EXPECT_THAT(**first, HasMetadata("attempt", "1"));
  EXPECT_THAT(**first, HasMetadata("ranks", "2,3"));
  EXPECT_THAT(**first, HasMetadata("last_seen", "never,never"));
  EXPECT_EQ(group_->GetSnapshot(true).last_step, 0u);
}

TEST_F(TwoRanksTest, AnAbortedStepIsTakenByAskingAgain) {
  TakeStep(1);
  const auto first = Begin(*group_, ForwardOf(0, 2));
  now_ += absl::Seconds(31);
  registry_->AbortOverdueBarriers();
  ExpectAborted(first, "RANK_MISSING");
  EXPECT_THAT(**first, HasMetadata("last_seen", "31s"));
  const Snapshot before = group_->GetSnapshot(true);
  EXPECT_EQ(before.last_step, 1u);
  TakeStep(2);
  EXPECT_EQ(group_->GetSnapshot(true).last_step, 2u);
}

TEST_F(TwoRanksTest, ALateRankFindsNoTraceOfAnAbortedAttempt) {
  Begin(*group_, ForwardOf(0));
  now_ += absl::Seconds(31);
  registry_->AbortOverdueBarriers();
  const auto late = Begin(*group_, ForwardOf(1));
  EXPECT_FALSE(late->has_value());
  now_ += absl::Seconds(31);
  registry_->AbortOverdueBarriers();
  EXPECT_THAT(**late, HasMetadata("attempt", "2"));
  EXPECT_THAT(**late, HasMetadata("ranks", "0"));
}

TEST_F(TwoRanksTest, ARefusedRankReleasesTheOthers) {
  const auto first = Begin(*group_, ForwardOf(0));
  EXPECT_THAT(Forward(*group_, OfRank(1, Train(1, F64({1, 3}, {1, 2, 3})))),
              HasReason("WRONG_CHANNELS"));
  ExpectAborted(first, "RANK_REFUSED");
  EXPECT_THAT(**first, HasMetadata("rank", "1"));
  EXPECT_THAT(**first, HasMetadata("rank_reason", "WRONG_CHANNELS"));
  const auto second = Begin(*group_, ForwardOf(0));
  group_->Refuse({.step = 1}, 1,
                 MakeError(Code::kResourceExhausted, "busy",
                           {.reason = "TOO_MANY_BYTES_IN_FLIGHT"}));
  ExpectAborted(second, "RANK_REFUSED");
  TakeStep(1);
}

TEST_F(TwoRanksTest, ARankRefusedInABackwardReleasesTheOthers) {
  TakeStep(1);
  const auto first = Begin(*group_, BackwardOf(0));
  EXPECT_THAT(Backward(*group_, OfRank(1, Gradient(1, Dy0()))),
              HasReason("BAD_TENSOR"));
  ExpectAborted(first, "RANK_REFUSED");
  EXPECT_THAT(**first, HasMetadata("phase", "Backward"));
  const auto second = Begin(*group_, BackwardOf(0));
  EXPECT_THAT(Backward(*group_, Resend(BackwardOf(1), X0())),
              HasReason("STEP_REUSED"));
  ExpectAborted(second, "RANK_REFUSED");
  const auto third = Begin(*group_, BackwardOf(0));
  SyncCall sums;
  sums.step = 1;
  sums.rank = 1;
  sums.backward.emplace(3, kernel::Dtype::kF64, kernel::Dtype::kF64);
  const auto refused = Begin(*group_, sums);
  EXPECT_THAT(**refused, HasReason("WRONG_CHANNELS"));
  ExpectAborted(third, "RANK_REFUSED");
  TakeGradients(1);
}

TEST_F(TwoRanksTest, WhoeverCannotTakePartReleasesNobody) {
  TakeStep(1);
  const auto first = Begin(*group_, BackwardOf(0));
  BackwardCall fenced = OfRank(1, Gradient(1, Dy0()));
  fenced.writer_token = "former token";
  EXPECT_THAT(Backward(*group_, fenced), HasReason("FENCED"));
  EXPECT_THAT(Backward(*group_, OfRank(2, Gradient(1, Dy0()))),
              HasReason("BAD_RANK"));
  EXPECT_FALSE(first->has_value());
}

TEST_F(TwoRanksTest, WhoeverHasToSendXAgainReleasesNobody) {
  TakeStep(1);
  Restart();
  const auto first = Begin(*group_, Resend(BackwardOf(0), X0()));
  EXPECT_THAT(Backward(*group_, BackwardOf(1)), HasReason("INPUT_EVICTED"));
  EXPECT_FALSE(first->has_value());
  EXPECT_THAT(Backward(*group_, Resend(BackwardOf(1), X1())), IsOk());
  EXPECT_THAT(**first, IsOk());
}

TEST_F(TwoRanksTest, ARefusalOfARankThatIsThereReleasesNobody) {
  const auto first = Begin(*group_, ForwardOf(0));
  const absl::Status busy = MakeError(Code::kResourceExhausted, "busy",
                                      {.reason = "TOO_MANY_BYTES_IN_FLIGHT"});
  group_->Refuse({.step = 1}, 0, busy);
  group_->Refuse({.step = 1}, 4'000'000'000, busy);
  EXPECT_FALSE(first->has_value());
  EXPECT_EQ(group_->GetSnapshot(true).group->ranks.size(), 1u);
  EXPECT_THAT(Forward(*group_, ForwardOf(1)), IsOk());
  EXPECT_THAT(**first, IsOk());
}

TEST_F(TwoRanksTest, AllRanksGiveOneNewWeight) {
  ForwardCall call = ForwardOf(0);
  call.new_weight = 0.5;
  const auto first = Begin(*group_, call);
  const auto second = Forward(*group_, ForwardOf(1));
  EXPECT_THAT(second, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(second, HasReason("NEW_WEIGHT_DIFFERS"));
  EXPECT_THAT(second, HasText("expected that of the ranks before, 0.5, got "
                              "0.1"));
  ExpectAborted(first, "RANK_REFUSED");
}

TEST_F(TwoRanksTest, ARankOutsideTheWorldIsRefused) {
  EXPECT_THAT(Forward(*group_, OfRank(2, Train(1, X1()))),
              HasReason("BAD_RANK"));
  TakeStep(1);
  EXPECT_THAT(Backward(*group_, OfRank(2, Gradient(1, X1()))),
              HasReason("BAD_RANK"));
  EXPECT_THAT(Forward(*group_, OfRank(2, Train(1, X1()))),
              HasReason("BAD_RANK"));
}

TEST_F(TwoRanksTest, AStepOfAGroupHasANumber) {
  EXPECT_THAT(Forward(*group_, ForwardOf(0, 0)), HasReason("BAD_STEP"));
}

TEST_F(TwoRanksTest, ABatchThatCannotBeNormalizedIsRefusedToAll) {
  const Tensor nothing = F64({0, 2}, {});
  const auto first = Begin(*group_, OfRank(0, Train(1, nothing)));
  const auto second = Forward(*group_, OfRank(1, Train(1, X1())));
  EXPECT_THAT(second, HasReason("TOO_FEW_VALUES"));
  EXPECT_THAT(**first, HasReason("TOO_FEW_VALUES"));
  EXPECT_EQ(group_->GetSnapshot(true).last_step, 0u);
}

TEST_F(TwoRanksTest, AnEmptyBatchIsAStep) {
  const Tensor nothing = F64({0, 2}, {});
  const auto first = Begin(*group_, OfRank(0, Train(1, nothing)));
  EXPECT_THAT(Forward(*group_, OfRank(1, Train(1, nothing))), IsOk());
  EXPECT_THAT(**first, IsOk());
  const Snapshot after = group_->GetSnapshot(true);
  EXPECT_EQ(after.last_step, 1u);
  EXPECT_EQ(after.running->batch_count, 0);
}

TEST_F(TwoRanksTest, InferenceWaitsForNobody) {
  TakeStep(1);
  const auto y = Forward(*group_, OfRank(1, Infer(X1())));
  ASSERT_THAT(y, IsOk());
  EXPECT_EQ(y->statistics_step, 1u);
}

TEST_F(TwoRanksTest, ADeletedGroupLetsItsRanksGo) {
  const auto first = Begin(*group_, ForwardOf(0));
  ASSERT_THAT(registry_->Delete("group"), IsOk());
  EXPECT_THAT(**first, HasReason("SESSION_NOT_FOUND"));
}

TEST_F(TwoRanksTest, AnImportLetsItsRanksGo) {
  const auto first = Begin(*group_, ForwardOf(0));
  ExportedSession exported = *registry_->Export("group");
  exported.last_step = 7;
  exported.checksum = 0;
  ASSERT_THAT(registry_->Import("group", exported, true, ""), IsOk());
  ExpectAborted(first, "GROUP_CHANGED");
}

TEST_F(TwoRanksTest, AServerThatEndsLetsAllRanksGo) {
  const auto first = Begin(*group_, ForwardOf(0));
  registry_->EndBarriers();
  EXPECT_THAT(**first, HasReason("SERVER_DRAINING"));
  const auto late = Begin(*group_, ForwardOf(1));
  registry_->AbortOverdueBarriers();
  EXPECT_THAT(**late, HasReason("SERVER_DRAINING"));
}

// ---- The size of the world

TEST_F(TwoRanksTest, AnotherWorldSizeHoldsFromTheNextStepOn) {
  TakeStep(1);
  const auto first = Begin(*group_, ForwardOf(0, 2));
  ASSERT_THAT(registry_->Update("group", 3, 1), IsOk());
  ExpectAborted(first, "GROUP_CHANGED");
  // The step that was taken keeps its ranks.
  TakeGradients(1);
  EXPECT_TRUE(Forward(*group_, ForwardOf(1, 1))->replayed);
  const auto a = Begin(*group_, ForwardOf(0, 2));
  const auto b = Begin(*group_, ForwardOf(1, 2));
  EXPECT_FALSE(b->has_value());
  EXPECT_THAT(Forward(*group_, OfRank(2, Train(2, X1()))), IsOk());
  EXPECT_THAT(**a, IsOk());
}

TEST_F(TwoRanksTest, AnotherWorldSizeOutlivesTheServer) {
  TakeStep(1);
  ASSERT_THAT(registry_->Update("group", 1, 1), IsOk());
  Restart();
  EXPECT_EQ(registry_->Get("group")->config.world_size, 1u);
  EXPECT_THAT(Forward(*group_, Train(2, Whole())), IsOk());
  EXPECT_TRUE(Forward(*group_, ForwardOf(1, 1))->replayed);
}

TEST_F(TwoRanksTest, TheSameWorldSizeDisturbsNobody) {
  const auto first = Begin(*group_, ForwardOf(0));
  ASSERT_THAT(registry_->Update("group", 2, 0), IsOk());
  EXPECT_FALSE(first->has_value());
}

// ---- Gradients

TEST_F(TwoRanksTest, GradientsOfGammaAndBetaAreReducedAsConfigured) {
  auto one = Make(*registry_, "one", Config(2));
  ASSERT_THAT(Forward(*one, Train(1, Whole())), IsOk());
  const auto whole = *Backward(*one, Gradient(1, WholeDy()));
  one.reset();

  TakeStep(1);
  const auto local = TakeGradients(1);
  // dbeta is a sum of dy; here no digit is rounded.
  EXPECT_EQ(local[0].dbeta, (std::vector<double>{4, 1}));
  EXPECT_EQ(local[1].dbeta, (std::vector<double>{0.5, 1}));
  for (const std::size_t c : {0u, 1u}) {
    EXPECT_NEAR(local[0].dgamma[c] + local[1].dgamma[c], whole.dgamma[c],
                1e-14);
  }

  SessionConfig config = GroupConfig(2, 2);
  config.gradient_reduction = GradientReduction::kMean;
  ASSERT_THAT(registry_->Delete("group"), IsOk());
  Start(config);
  TakeStep(1);
  const auto mean = TakeGradients(1);
  for (const std::uint32_t rank : {0u, 1u}) {
    for (const std::size_t c : {0u, 1u}) {
      EXPECT_EQ(mean[rank].dgamma[c], whole.dgamma[c] / 2);
      EXPECT_EQ(mean[rank].dbeta[c], whole.dbeta[c] / 2);
    }
  }
}

// The rank's part of a batch whose rows are dy of 1, 2, 3, 4 in each channel.
SyncCall SumsOfRank(std::int64_t channels, std::uint32_t rank, bool backward) {
  const kernel::ChannelLayout layout(std::vector<std::int64_t>{2, channels},
                                     std::vector{1});
  std::vector<double> x;
  std::vector<double> dy;
  for (std::int64_t i = 0; i < 2 * channels; ++i) {
    x.push_back(static_cast<double>(i % 7 + rank));
    dy.push_back(2 * rank + (i < channels ? 1 : 2));
  }
  const Tensor x_tensor = F64({2, channels}, x);
  const Tensor dy_tensor = F64({2, channels}, dy);
  SyncCall call;
  call.step = 1;
  call.rank = rank;
  if (backward) {
    call.backward.emplace(channels, x_tensor.dtype, dy_tensor.dtype);
    call.backward->Add(layout, 0, x_tensor.view(), dy_tensor.view());
  } else {
    call.forward.emplace(channels, x_tensor.dtype);
    call.forward->Add(layout, 0, x_tensor.view());
  }
  return call;
}

TEST_F(TwoRanksTest, SumsOfFewAndManyChannelsGetGradientsOfTheirOwn) {
  for (const std::int64_t channels : {3, 600}) {
    const auto group =
        Make(*registry_, std::to_string(channels), GroupConfig(channels, 2));
    for (const bool backward : {false, true}) {
      const auto first = Begin(*group, SumsOfRank(channels, 0, backward));
      const auto second = Begin(*group, SumsOfRank(channels, 1, backward));
      ASSERT_TRUE(first->has_value() && second->has_value());
      ASSERT_THAT(**first, IsOk());
      ASSERT_THAT(**second, IsOk());
      if (!backward) continue;
      const auto n = static_cast<std::size_t>(channels);
      EXPECT_EQ((***first).gradients->dbeta, std::vector<double>(n, 3));
      EXPECT_EQ((***second).gradients->dbeta, std::vector<double>(n, 7));
    }
  }
}

// The sum 2^53 + 1 is no double, its third is one.
TEST_F(TwoRanksTest, AMeanOverRanksIsRoundedOnce) {
  constexpr double kThird = 3002399751580331;
  SessionConfig config = GroupConfig(2, 3);
  config.normalization.eps = 0;
  config.gradient_reduction = GradientReduction::kMean;
  ASSERT_THAT(registry_->Delete("group"), IsOk());
  Start(config);
  // x_hat is 1 and -1, as x is.
  const std::vector<Tensor> x = {F64({1, 2}, {1, 1}), F64({1, 2}, {-1, -1}),
                                 F64({2, 2}, {1, 1, -1, -1})};
  // In the first channel the sum of dy, in the second that of dy * x_hat.
  const std::vector<Tensor> dy = {F64({1, 2}, {0x1p53, 0x1p53}),
                                  F64({1, 2}, {1, -1}),
                                  F64({2, 2}, {0, 0, 0, 0})};
  std::vector<Reply<BackwardResult>> replies;
  for (const std::uint32_t rank : {0u, 1u, 2u}) {
    Begin(*group_, OfRank(rank, Train(1, x[rank])));
  }
  for (const std::uint32_t rank : {0u, 1u, 2u}) {
    replies.push_back(Begin(*group_, OfRank(rank, Gradient(1, dy[rank]))));
  }
  for (const auto& reply : replies) {
    ASSERT_THAT(**reply, IsOk());
    EXPECT_EQ((*reply)->value().dbeta[0], kThird);
    EXPECT_EQ((*reply)->value().dgamma[1], kThird);
  }
}

TEST_F(TwoRanksTest, RanksMayHaveDtypesOfTheirOwn) {
  const auto first = Begin(*group_, OfRank(0, Train(1, X0())));
  const auto second =
      Begin(*group_, OfRank(1, Train(1, F32({1, 2}, {-4, 0.5}))));
  const auto one = Make(*registry_, "one", Config(2));
  const auto whole = *Forward(*one, Train(1, Whole()));
  ASSERT_THAT(**first, IsOk());
  const std::string& y = (*first)->value().y;
  EXPECT_EQ(y, whole.y.substr(0, y.size()));
  EXPECT_EQ((*second)->value().dtype, kernel::Dtype::kF32);
}

TEST_F(TwoRanksTest, InputsThatDoNotFitTheQuotaAreSentAgain) {
  kept_input_bytes_ = 0;
  Restart();
  TakeStep(1);
  EXPECT_THAT(Backward(*group_, BackwardOf(0)), HasReason("INPUT_EVICTED"));
  const auto first = Begin(*group_, Resend(BackwardOf(0), X0()));
  const auto second = Begin(*group_, Resend(BackwardOf(1), X1()));
  EXPECT_THAT(**first, IsOk());
  EXPECT_THAT(**second, IsOk());
}

// ---- What is seen

TEST_F(TwoRanksTest, AViewNamesWhoIsThereAndWhoIsNot) {
  TakeStep(1);
  now_ += absl::Seconds(2);
  const auto first = Begin(*group_, ForwardOf(1, 2));
  now_ += absl::Seconds(3);
  const GroupView view = *group_->GetSnapshot(true).group;
  ASSERT_EQ(view.ranks.size(), 2u);
  EXPECT_EQ(view.ranks[0].seen_ago, absl::Seconds(5));
  EXPECT_EQ(view.ranks[1].seen_ago, absl::Seconds(3));
  EXPECT_EQ(view.ranks[0].last_wait, absl::ZeroDuration());
  ASSERT_EQ(view.barriers.size(), 1u);
  EXPECT_EQ(view.barriers[0].key.step, 2u);
  EXPECT_EQ(view.barriers[0].age, absl::Seconds(3));
  EXPECT_EQ(view.barriers[0].present, std::vector<std::uint32_t>{1});
  EXPECT_EQ(view.barriers[0].missing, std::vector<std::uint32_t>{0});
}

TEST_F(TwoRanksTest, AStragglerIsToldOnce) {
  std::vector<std::uint32_t> told;
  RegistryOptions options = StoredOptions();
  options.barrier_timeout = absl::Minutes(5);
  options.on_stragglers = [&told](const std::string&, const Stragglers& late) {
    told.insert(told.end(), late.ranks.begin(), late.ranks.end());
  };
  group_.reset();
  registry_ = std::make_unique<Registry>(options);
  group_ = *registry_->Find("group");
  const auto late_step = [this](std::uint64_t step) {
    Begin(*group_, ForwardOf(0, step));
    for (int i = 0; i < 6; ++i) {
      now_ += absl::Seconds(1);
      registry_->AbortOverdueBarriers();
    }
    EXPECT_THAT(Forward(*group_, ForwardOf(1, step)), IsOk());
  };
  late_step(1);
  EXPECT_EQ(told, (std::vector<std::uint32_t>{1}));
  late_step(2);
  EXPECT_EQ(told, (std::vector<std::uint32_t>{1}));
  TakeStep(3);
  late_step(4);
  EXPECT_EQ(told, (std::vector<std::uint32_t>{1, 1}));
}

// ---- Presence

class PresenceTest : public TwoRanksTest {
 protected:
  // What a rank that has joined was told last.
  using News = std::shared_ptr<std::optional<absl::StatusOr<PresentRanks>>>;

  absl::StatusOr<std::uint64_t> Join(std::uint32_t rank, const char* job,
                                     const News& news) {
    return group_->Join(rank, job, "",
                        [news](const auto& told) { *news = told; });
  }

  static News NoNews() {
    return std::make_shared<std::optional<absl::StatusOr<PresentRanks>>>();
  }

  const News first_ = NoNews();
  const News second_ = NoNews();
};

TEST_F(PresenceTest, WhoJoinsIsToldWhoIsThere) {
  ASSERT_THAT(Join(1, "job", first_), IsOk());
  EXPECT_EQ((*first_)->value().ranks, std::vector<std::uint32_t>{1});
  const std::uint64_t former = (*first_)->value().version;
  ASSERT_THAT(Join(0, "job", second_), IsOk());
  EXPECT_GT((*first_)->value().version, former);
  EXPECT_EQ((*first_)->value().ranks, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ((*second_)->value().ranks, (std::vector<std::uint32_t>{0, 1}));
}

TEST_F(PresenceTest, WhoLeavesIsMissedAtOnce) {
  ASSERT_THAT(Join(0, "job", first_), IsOk());
  const auto ticket = Join(1, "job", second_);
  const auto waiting = Begin(*group_, ForwardOf(0));
  group_->Leave(1, *ticket);
  ExpectAborted(waiting, "RANK_LEFT");
  EXPECT_THAT(**waiting, HasMetadata("ranks", "1"));
  EXPECT_EQ((*first_)->value().ranks, std::vector<std::uint32_t>{0});
}

TEST_F(PresenceTest, WhatALeavingRankBroughtStays) {
  const auto ticket = Join(1, "job", first_);
  const auto gone = Begin(*group_, ForwardOf(1));
  group_->Leave(1, *ticket);
  EXPECT_FALSE(gone->has_value());
  EXPECT_THAT(Forward(*group_, ForwardOf(0)), IsOk());
}

TEST_F(PresenceTest, ARankThatHasLeftIsWaitedForASecond) {
  const auto ticket = Join(1, "job", first_);
  group_->Leave(1, *ticket);
  const auto waiting = Begin(*group_, ForwardOf(0));
  registry_->AbortOverdueBarriers();
  EXPECT_FALSE(waiting->has_value());
  now_ += absl::Seconds(1);
  registry_->AbortOverdueBarriers();
  ExpectAborted(waiting, "RANK_LEFT");
  ASSERT_THAT(Join(1, "job", second_), IsOk());
  const auto again = Begin(*group_, ForwardOf(0));
  now_ += absl::Seconds(2);
  registry_->AbortOverdueBarriers();
  EXPECT_FALSE(again->has_value());
  EXPECT_THAT(Forward(*group_, ForwardOf(1)), IsOk());
}

TEST_F(PresenceTest, AnotherJobIsRefusedWhileOneIsAlive) {
  const auto ticket = Join(0, "mine", first_);
  const auto other = Join(1, "yours", second_);
  EXPECT_THAT(other, StatusIs(Code::kAlreadyExists));
  EXPECT_THAT(other, HasReason("OTHER_JOB"));
  EXPECT_THAT(other, HasMetadata("job", "mine"));
  group_->Leave(0, *ticket);
  EXPECT_THAT(Join(1, "yours", second_), IsOk());
}

TEST_F(PresenceTest, ARankThatJoinsAgainReplacesItsFormerSelf) {
  const auto former = Join(0, "job", first_);
  ASSERT_THAT(Join(0, "job", second_), IsOk());
  EXPECT_THAT(**first_, HasReason("CALL_REPLACED"));
  const auto waiting = Begin(*group_, ForwardOf(1));
  group_->Leave(0, *former);
  EXPECT_FALSE(waiting->has_value());
}

TEST_F(PresenceTest, JoinsAreChecked) {
  EXPECT_THAT(Join(2, "job", first_), HasReason("BAD_RANK"));
  EXPECT_THAT(Join(0, "", first_), HasReason("BAD_JOB"));
  EXPECT_THAT(Join(0, std::string(129, 'j').c_str(), first_),
              HasReason("BAD_JOB"));
  ASSERT_THAT(group_->Acquire(0, 0, kNonce), IsOk());
  EXPECT_THAT(group_->Join(0, "job", "former token", [](const auto&) {}),
              HasReason("FENCED"));
  EXPECT_FALSE(first_->has_value());
}

TEST_F(PresenceTest, JoinsEndWithTheirPlace) {
  ASSERT_THAT(Join(0, "job", first_), IsOk());
  ASSERT_THAT(Join(1, "job", second_), IsOk());
  ASSERT_THAT(registry_->Update("group", 1, 0), IsOk());
  EXPECT_THAT(**second_, HasReason("GROUP_CHANGED"));
  ASSERT_THAT(registry_->Delete("group"), IsOk());
  EXPECT_THAT(**first_, HasReason("SESSION_NOT_FOUND"));
}

}  // namespace
}  // namespace batchnorm::session
