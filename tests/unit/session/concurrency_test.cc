// Many threads on one session: whatever the interleaving, what was done is what
// a single caller would have done.
#include <array>
#include <atomic>
#include <barrier>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

constexpr std::int64_t kChannels = 3;
constexpr std::int64_t kRows = 8;

Tensor BatchOf(std::uint64_t step) {
  return F32({kRows, kChannels},
             Normals(static_cast<std::size_t>(kRows * kChannels),
                     static_cast<unsigned>(step), 10));
}

Tensor DyOf(std::uint64_t step) { return BatchOf(1000 + step); }

template <typename Work>
void InThreads(int count, const Work& work) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

TEST(ConcurrencyTest, OfThreeEqualCallsOneAppliesAndAllGetEqualBytes) {
  InputQuota quota(1 << 20);
  const auto session = Open(quota, Config(kChannels));
  const auto alone = Open(quota, Config(kChannels));
  for (std::uint64_t step = 1; step <= 100; ++step) {
    std::array<absl::StatusOr<ForwardResult>, 3> results;
    std::barrier start(3);
    InThreads(3, [&](int i) {
      start.arrive_and_wait();
      results.at(static_cast<std::size_t>(i)) =
          Forward(*session, Train(step, BatchOf(step)));
    });
    const auto expected = Forward(*alone, Train(step, BatchOf(step)));
    int replayed = 0;
    for (const auto& result : results) {
      ASSERT_THAT(result, IsOk());
      EXPECT_EQ(result->step, step);
      EXPECT_EQ(result->y, expected->y);
      replayed += result->replayed ? 1 : 0;
    }
    EXPECT_EQ(replayed, 2);
  }
  EXPECT_EQ(session->GetSnapshot(true).running->mean,
            alone->GetSnapshot(true).running->mean);
  EXPECT_EQ(session->GetSnapshot(true).running->var,
            alone->GetSnapshot(true).running->var);
}

TEST(ConcurrencyTest, OfTwoDifferentCallsOneAppliesAndOneReusesTheStep) {
  InputQuota quota(1 << 20);
  const auto session = Open(quota, Config(kChannels));
  for (std::uint64_t step = 1; step <= 50; ++step) {
    std::atomic<int> applied = 0;
    std::atomic<int> reused = 0;
    InThreads(2, [&](int i) {
      const auto other = static_cast<std::uint64_t>(i);
      const auto result =
          Forward(*session, Train(step, BatchOf(2 * step + other)));
      if (result.ok()) {
        ++applied;
      } else {
        EXPECT_THAT(result, HasReason("STEP_REUSED"));
        ++reused;
      }
    });
    EXPECT_EQ(applied, 1);
    EXPECT_EQ(reused, 1);
  }
}

TEST(ConcurrencyTest, StepZeroGivesEachCallItsOwnStep) {
  InputQuota quota(1 << 20);
  const auto session = Open(quota, Config(kChannels));
  std::array<std::atomic<int>, 101> taken{};
  InThreads(4, [&](int) {
    for (int i = 0; i < 25; ++i) {
      const auto result = Forward(*session, Train(0, BatchOf(1)));
      ASSERT_THAT(result, IsOk());
      ++taken.at(result->step);
    }
  });
  for (std::size_t step = 1; step <= 100; ++step) EXPECT_EQ(taken[step], 1);
}

// What one caller gets for every step, and where the statistics end.
struct SerialRun {
  std::vector<ForwardResult> forward;
  std::vector<BackwardResult> backward;
  RunningStatistics running;
};

class InterleavingTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSteps = 60;

  static SerialRun RunSerially() {
    InputQuota quota(1 << 20);
    const auto session = Open(quota, Config(kChannels));
    SerialRun run;
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
      run.forward.push_back(*Forward(*session, Train(step, BatchOf(step))));
      run.backward.push_back(*Backward(*session, Gradient(step, DyOf(step))));
    }
    run.running = *session->GetSnapshot(true).running;
    return run;
  }

  // One forward of a step around the last; true if it was answered.
  void TryForward(std::uint64_t step) {
    const auto result = Forward(*session_, Train(step, BatchOf(step)));
    if (result.ok()) {
      EXPECT_EQ(result->y, serial_.forward[step - 1].y);
      if (!result->replayed) ++applied_;
      return;
    }
    EXPECT_THAT(result, ::testing::AnyOf(HasReason("STEP_GAP"),
                                         HasReason("STEP_TOO_OLD")));
  }

  void TryBackward(std::uint64_t step, bool resend) {
    BackwardCall call = Gradient(step, DyOf(step));
    if (resend) call = Resend(std::move(call), BatchOf(step));
    const auto result = Backward(*session_, call);
    if (result.ok()) {
      EXPECT_EQ(result->dx, serial_.backward[step - 1].dx);
      EXPECT_EQ(result->dgamma, serial_.backward[step - 1].dgamma);
      return;
    }
    EXPECT_THAT(result, ::testing::AnyOf(HasReason("STEP_GAP"),
                                         HasReason("INPUT_EVICTED")));
    EXPECT_FALSE(resend && step <= session_->GetSnapshot(false).last_step &&
                 DetailOf(result.status())->reason == "INPUT_EVICTED");
  }

  // Random calls around the last step until the last of all is taken.
  void Play(unsigned seed) {
    std::mt19937 random(seed);
    for (;;) {
      const std::uint64_t last = session_->GetSnapshot(false).last_step;
      if (last == kSteps) return;
      const std::uint64_t low = last > 10 ? last - 10 : 1;
      const std::uint64_t high = std::min(last + 2, kSteps);
      const std::uint64_t step = low + random() % (high - low + 1);
      switch (random() % 4) {
        case 0:
          TryForward(step);
          break;
        case 1:
          TryForward(last + 1);
          break;
        case 2:
          TryBackward(step, /*resend=*/false);
          break;
        default:
          TryBackward(step, /*resend=*/true);
      }
    }
  }

  const SerialRun serial_ = RunSerially();
  InputQuota quota_{5 * kRows * kChannels * 4};  // a few inputs of the window
  const std::shared_ptr<Session> session_ = Open(quota_, Config(kChannels));
  std::atomic<std::uint64_t> applied_ = 0;
};

TEST_F(InterleavingTest, AnyInterleavingEndsWithTheBytesOfTheSerialRun) {
  InThreads(4, [this](int i) { Play(static_cast<unsigned>(i)); });
  EXPECT_EQ(applied_, kSteps);
  const Snapshot end = session_->GetSnapshot(true);
  EXPECT_EQ(end.last_step, kSteps);
  EXPECT_EQ(end.running->mean, serial_.running.mean);
  EXPECT_EQ(end.running->var, serial_.running.var);
  EXPECT_EQ(end.running->batch_count, serial_.running.batch_count);
  EXPECT_EQ(end.counters.forward_count, static_cast<std::int64_t>(kSteps));
}

TEST(ConcurrencyTest, CallsInFlightAtCloseWereCommittedBeforeOrNotFound) {
  for (int round = 0; round < 20; ++round) {
    InputQuota quota(1 << 20);
    const auto session = Open(quota, Config(kChannels));
    std::atomic<std::int64_t> committed = 0;
    InThreads(3, [&](int i) {
      if (i == 0) {
        while (session->GetSnapshot(false).last_step < 5) {
          std::this_thread::yield();
        }
        session->Close();
        return;
      }
      for (;;) {
        const auto result = Forward(*session, Train(0, BatchOf(1)));
        if (!result.ok()) {
          EXPECT_THAT(result, HasReason("SESSION_NOT_FOUND"));
          return;
        }
        ++committed;
      }
    });
    const Snapshot end = session->GetSnapshot(false);
    EXPECT_EQ(static_cast<std::int64_t>(end.last_step), committed);
    EXPECT_EQ(quota.used_bytes(), 0);
  }
}

}  // namespace
}  // namespace batchnorm::session
