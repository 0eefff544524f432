// What was acknowledged is in the store, and what is in the store is all that a
// new registry needs.
#include <chrono>
#include <future>
#include <thread>

#include "server/session/registry.h"
#include "tests/unit/session/session_fixture.h"
#include "tests/unit/session/slow_store.h"

namespace batchnorm::session {
namespace {

using Code = absl::StatusCode;

constexpr char kNonce[] = "12345678";
constexpr char kOtherNonce[] = "abcdefgh";

// One who waits for a change to last. Waiters are told one after the other, and
// who asks when it lasts is told at once, which may be before the others.
class Waiter {
 public:
  Waiter(Session& session, const absl::StatusOr<ForwardResult>& result) {
    session.WhenItLasts(result->change, [this](const absl::Status& status) {
      promise_.set_value(status);
    });
  }

  bool is_told() const {
    return told_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  absl::Status Await() {
    if (told_.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      return absl::DeadlineExceededError("never told");
    }
    return told_.get();
  }

 private:
  std::promise<absl::Status> promise_;
  std::future<absl::Status> told_ = promise_.get_future();
};

class DurabilityTest : public ::testing::Test {
 protected:
  RegistryOptions Options() {
    RegistryOptions options;
    options.store = &store_;
    options.idle_ttl = absl::Hours(1);
    options.clock = [this] { return now_; };
    return options;
  }

  // As a server that was killed and started again.
  void Restart() {
    registry_.reset();
    registry_ = std::make_unique<Registry>(Options());
  }

  // A Forward as far as its reply may be sent.
  absl::StatusOr<ForwardResult> Acknowledged(const ForwardCall& call) {
    auto session = registry_->Find("bn");
    if (!session.ok()) return session.status();
    auto result = Forward(**session, call);
    if (!result.ok()) return result;
    absl::Status lasts = (*session)->AwaitLasting(result->change);
    if (!lasts.ok()) return lasts;
    return result;
  }

  void TakeSteps(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_THAT(Acknowledged(Train(0, Batch(i))), IsOk());
    }
  }

  // A checkpoint of "bn" after one step.
  ExportedSession ExportedOneStep() const {
    SessionConfig config = Config(2);
    config.step_window = 3;
    return {.config = config,
            .last_step = 1,
            .running = {.mean = {1, 2}, .var = {3, 4}, .batch_count = 1}};
  }

  static Tensor Batch(int i) {
    return F64({4, 2}, Normals(8, static_cast<unsigned>(i + 1)));
  }

  void SetUp() override {
    SessionConfig config = Config(2);
    config.step_window = 3;
    ASSERT_THAT(registry_->Create("bn", config), IsOk());
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  SlowStore store_;
  std::unique_ptr<Registry> registry_ = std::make_unique<Registry>(Options());
};

TEST_F(DurabilityTest, ARestartChangesNothing) {
  TakeSteps(5);
  const auto before = registry_->Get("bn");
  Restart();
  const auto after = registry_->Get("bn");
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->last_step, 5u);
  EXPECT_EQ(after->running->mean, before->running->mean);
  EXPECT_EQ(after->running->var, before->running->var);
  EXPECT_EQ(after->running->batch_count, 5);
  EXPECT_EQ(after->create_time, before->create_time);
  EXPECT_EQ(after->config, before->config);
  EXPECT_EQ(registry_->session_count(), 1);
}

TEST_F(DurabilityTest, AStepOfTheWindowIsReplayedAfterARestart) {
  TakeSteps(4);
  const auto first = Acknowledged(Train(4, Batch(3)));
  ASSERT_THAT(first, IsOk());
  Restart();
  const auto replay = Acknowledged(Train(4, Batch(3)));
  ASSERT_THAT(replay, IsOk());
  EXPECT_TRUE(replay->replayed);
  EXPECT_EQ(replay->y, first->y);
  EXPECT_THAT(Acknowledged(Train(4, Batch(9))), HasReason("STEP_REUSED"));
  EXPECT_THAT(Acknowledged(Train(1, Batch(0))), HasReason("STEP_TOO_OLD"));
  EXPECT_EQ(registry_->Get("bn")->last_step, 4u);
}

TEST_F(DurabilityTest, BackwardAfterARestartAsksForTheInputAndChecksIt) {
  TakeSteps(2);
  Restart();
  const auto session = *registry_->Find("bn");
  const Tensor dy = Batch(7);
  EXPECT_THAT(Backward(*session, Gradient(2, dy)), HasReason("INPUT_EVICTED"));
  EXPECT_THAT(Backward(*session, Resend(Gradient(2, dy), Batch(1))), IsOk());
  EXPECT_THAT(Backward(*session, Resend(Gradient(2, dy), Batch(5))),
              HasReason("STEP_REUSED"));
}

TEST_F(DurabilityTest, AWriterStaysTheWriterAfterARestart) {
  const auto writer = registry_->Acquire("bn", 0, 0, kNonce);
  ASSERT_THAT(writer, IsOk());
  Restart();
  ForwardCall call = Train(1, Batch(0));
  call.writer_token = writer->writer_token;
  EXPECT_THAT(Acknowledged(call), IsOk());
  call.step = 2;
  call.writer_token = "another";
  EXPECT_THAT(Acknowledged(call), HasReason("FENCED"));
  EXPECT_EQ(registry_->Acquire("bn", 0, 0, kNonce)->writer_token,
            writer->writer_token);
}

TEST_F(DurabilityTest, AReplyWaitsUntilItsStepIsStored) {
  const auto session = *registry_->Find("bn");
  store_.Hold();
  const auto result = Forward(*session, Train(1, Batch(0)));
  ASSERT_THAT(result, IsOk());
  Waiter waiter(*session, result);
  store_.AwaitStarted(2);  // Create's, then this one
  EXPECT_FALSE(waiter.is_told());
  store_.LetGo();
  EXPECT_THAT(session->AwaitLasting(result->change), IsOk());
  EXPECT_THAT(waiter.Await(), IsOk());
}

TEST_F(DurabilityTest, AReplayAndAReaderWaitForTheStepTheyTellOf) {
  const auto session = *registry_->Find("bn");
  store_.Hold();
  const auto step = Forward(*session, Train(1, Batch(0)));
  const auto replay = Forward(*session, Train(1, Batch(0)));
  const auto reader = Forward(*session, Infer(Batch(0)));
  ASSERT_THAT(reader, IsOk());
  EXPECT_TRUE(replay->replayed);
  EXPECT_EQ(reader->statistics_step, 1u);
  Waiter of_step(*session, step);
  Waiter of_replay(*session, replay);
  Waiter of_reader(*session, reader);
  store_.AwaitStarted(2);
  for (Waiter* waiter : {&of_step, &of_replay, &of_reader}) {
    EXPECT_FALSE(waiter->is_told());
  }
  store_.LetGo();
  EXPECT_THAT(session->AwaitLasting(reader->change), IsOk());
  for (Waiter* waiter : {&of_step, &of_replay, &of_reader}) {
    EXPECT_THAT(waiter->Await(), IsOk());
  }
}

TEST_F(DurabilityTest, StepsThatAreTakenDuringACommitShareTheNext) {
  auto session = *registry_->Find("bn");
  store_.Hold();
  ASSERT_THAT(Forward(*session, Train(1, Batch(0))), IsOk());
  store_.AwaitStarted(2);
  absl::StatusOr<ForwardResult> last = absl::UnknownError("");
  for (int i = 1; i < 10; ++i) last = Forward(*session, Train(0, Batch(i)));
  store_.LetGo();
  ASSERT_THAT(session->AwaitLasting(last->change), IsOk());
  EXPECT_EQ(store_.commits(), 3);  // Create, step 1, steps 2 to 10
  session.reset();                 // it must not outlive its registry
  Restart();
  EXPECT_EQ(registry_->Get("bn")->last_step, 10u);
}

TEST_F(DurabilityTest, AStepThatCouldNotBeStoredIsNotAcknowledged) {
  TakeSteps(1);
  for (const bool written : {false, true}) {
    store_.FailWith(absl::ResourceExhaustedError("no room"), written);
    const auto refused = Acknowledged(Train(0, Batch(1)));
    EXPECT_THAT(refused, StatusIs(Code::kUnavailable));
    EXPECT_THAT(refused, HasReason("STORE_FAILED"));
    store_.FailWith(absl::OkStatus(), false);
    // The same session, as it is stored: the step is in it or it is not.
    EXPECT_EQ(registry_->Get("bn")->last_step, written ? 2u : 1u);
    const auto again = Acknowledged(Train(2, Batch(1)));
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ(again->replayed, written);
    ASSERT_THAT(registry_->Import("bn", ExportedOneStep(), true, ""), IsOk());
  }
}

TEST_F(DurabilityTest, AllWhoWaitedForAFailedCommitAreTold) {
  const auto session = *registry_->Find("bn");
  store_.Hold();
  const auto first = Forward(*session, Train(1, Batch(0)));
  const auto second = Forward(*session, Train(2, Batch(1)));
  Waiter of_first(*session, first);
  Waiter of_second(*session, second);
  store_.FailWith(absl::UnavailableError("the disk"), false);
  store_.LetGo();
  EXPECT_THAT(session->AwaitLasting(second->change),
              StatusIs(Code::kUnavailable));
  EXPECT_THAT(of_first.Await(), HasReason("STORE_FAILED"));
  EXPECT_THAT(of_second.Await(), HasReason("STORE_FAILED"));
  store_.FailWith(absl::OkStatus(), false);
  EXPECT_EQ(registry_->Get("bn")->last_step, 0u);
}

TEST_F(DurabilityTest, ACreateThatCouldNotBeStoredMadeNothing) {
  store_.FailWith(absl::UnavailableError("the disk"), false);
  EXPECT_THAT(registry_->Create("new", Config(1)), HasReason("STORE_FAILED"));
  EXPECT_EQ(registry_->session_count(), 1);
  store_.FailWith(absl::OkStatus(), false);
  EXPECT_THAT(registry_->Get("new"), StatusIs(Code::kNotFound));
}

TEST_F(DurabilityTest, AServerThatLostASessionToAnotherLoadsItAnew) {
  TakeSteps(1);
  Registry other(Options());
  ASSERT_THAT(Forward(**other.Find("bn"), Train(2, Batch(1))), IsOk());
  ASSERT_THAT(other.Get("bn"), IsOk());
  // This one still believes that step 2 is the next.
  EXPECT_THAT(Acknowledged(Train(2, Batch(5))), HasReason("STORE_FAILED"));
  EXPECT_THAT(Acknowledged(Train(2, Batch(5))), HasReason("STEP_REUSED"));
  EXPECT_TRUE(Acknowledged(Train(2, Batch(1)))->replayed);
  EXPECT_EQ(other.Get("bn")->last_step, 2u);
}

TEST_F(DurabilityTest, ACommitThatComesAfterADeleteRecreatesNothing) {
  const auto session = *registry_->Find("bn");
  store_.Hold();
  const auto late = Forward(*session, Train(1, Batch(0)));
  ASSERT_THAT(registry_->Delete("bn"), IsOk());
  store_.LetGo();
  EXPECT_THAT(session->AwaitLasting(late->change), StatusIs(Code::kNotFound));
  EXPECT_THAT(registry_->Get("bn"), StatusIs(Code::kNotFound));
  ASSERT_THAT(registry_->Create("bn", Config(2)), IsOk());
  EXPECT_EQ(registry_->Get("bn")->last_step, 0u);
}

TEST_F(DurabilityTest, ADamagedRowIsThatSessionsAlone) {
  ASSERT_THAT(registry_->Create("other", Config(2)), IsOk());
  TakeSteps(1);
  registry_.reset();
  auto row = *store_.Load("bn");
  ASSERT_TRUE(row.has_value());
  row->body[20] = static_cast<char>(row->body[20] ^ 1);
  ASSERT_EQ((*store_.storage::MemoryStore::Commit(std::vector<storage::Write>{
                {"bn", row->version, row->header, row->body}}))[0],
            storage::Outcome::kDone);
  Restart();
  EXPECT_THAT(registry_->Get("bn"), HasReason("SESSION_DAMAGED"));
  EXPECT_THAT(registry_->Find("bn"), StatusIs(Code::kDataLoss));
  EXPECT_THAT(registry_->Create("bn", Config(2)), StatusIs(Code::kDataLoss));
  EXPECT_THAT(registry_->Get("other"), IsOk());
  const auto page = registry_->List(0, "", "");
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->sessions.size(), 2u);
  EXPECT_TRUE(page->sessions[0].is_damaged);
  EXPECT_FALSE(page->sessions[1].is_damaged);
  // A checkpoint mends it.
  EXPECT_THAT(registry_->Import("bn", ExportedOneStep(), true, ""), IsOk());
  EXPECT_EQ(registry_->Get("bn")->last_step, 1u);
}

TEST_F(DurabilityTest, NamedSessionsAreNotForgottenOthersAre) {
  const auto unnamed = registry_->Create("", Config(2));
  ASSERT_THAT(unnamed, IsOk());
  now_ += absl::Hours(2);
  EXPECT_EQ(registry_->ExpireIdle(), 1);
  EXPECT_THAT(registry_->Get(unnamed->name), StatusIs(Code::kNotFound));
  EXPECT_THAT(registry_->Get("bn"), IsOk());
}

TEST_F(DurabilityTest, AnIdleSessionIsForgottenAlsoIfNobodyLoadedIt) {
  const auto unnamed = registry_->Create("", Config(2));
  Restart();
  now_ += absl::Minutes(59);
  EXPECT_EQ(registry_->ExpireIdle(), 0);
  now_ += absl::Minutes(2);
  EXPECT_EQ(registry_->ExpireIdle(), 1);
  EXPECT_THAT(registry_->Get(unnamed->name), StatusIs(Code::kNotFound));
  EXPECT_EQ(registry_->session_count(), 1);
}

TEST_F(DurabilityTest, SessionsThatDoNotFitMemoryAreLoadedWhenTheyAreUsed) {
  RegistryOptions options = Options();
  options.loaded_bytes = 20'000;  // some eight of these
  Registry registry(options);
  for (int i = 0; i < 100; ++i) {
    const std::string name = std::to_string(i);
    ASSERT_THAT(registry.Create(name, Config(2)), IsOk());
    const auto session = *registry.Find(name);
    const auto step = Forward(*session, Train(1, Batch(i)));
    ASSERT_THAT(session->AwaitLasting(step->change), IsOk());
  }
  EXPECT_LT(registry.loaded_count(), 10);
  EXPECT_EQ(registry.session_count(), 101);
  for (int i = 0; i < 100; ++i) {
    const auto session = registry.Find(std::to_string(i));
    ASSERT_THAT(session, IsOk());
    EXPECT_TRUE(Forward(**session, Train(1, Batch(i)))->replayed);
  }
}

TEST_F(DurabilityTest, ASessionInUseIsNotGivenUp) {
  RegistryOptions options = Options();
  options.loaded_bytes = 1;
  Registry registry(options);
  const auto held = *registry.Find("bn");
  ASSERT_THAT(registry.Create("a", Config(2)), IsOk());
  ASSERT_THAT(registry.Create("b", Config(2)), IsOk());
  EXPECT_EQ(*registry.Find("bn"), held);
}

}  // namespace
}  // namespace batchnorm::session
