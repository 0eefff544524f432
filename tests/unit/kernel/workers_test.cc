// The pool: every task once, whoever calls and whoever is slow.
#include "server/kernel/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace batchnorm::kernel {
namespace {

constexpr int kThreads[] = {1, 2, 3, 8};

class WorkersTest : public testing::TestWithParam<int> {
 protected:
  Workers workers_{GetParam()};
};

TEST_P(WorkersTest, RunEveryTaskOnce) {
  for (std::int64_t tasks = 0; tasks < 100; ++tasks) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
    workers_.Run(tasks,
                 [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const auto& count : runs) ASSERT_EQ(count, 1) << tasks;
  }
}

// What a task wrote is there when Run returns, without atomics.
TEST_P(WorkersTest, HaveEndedWhenRunReturns) {
  std::vector<int> written(64);
  for (int round = 1; round <= 2000; ++round) {
    workers_.Run(64, [&](std::int64_t i) {
      written[static_cast<std::size_t>(i)] = round;
    });
    ASSERT_EQ(written, std::vector(64, round));
  }
}

// Threads that have gone to sleep between two calls.
TEST_P(WorkersTest, WakeAfterARest) {
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> runs = 0;
    workers_.Run(16, [&](std::int64_t) { ++runs; });
    ASSERT_EQ(runs, 16);
  }
}

TEST_P(WorkersTest, ServeManyCallersAtOnce) {
  std::vector<std::thread> callers;
  callers.reserve(4);
  std::atomic<std::int64_t> sum = 0;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        workers_.Run(10, [&](std::int64_t i) { sum += i; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 300 * 45);
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkersTest, testing::ValuesIn(kThreads),
                         testing::PrintToStringParamName());

TEST(SharedWorkersTest, AreAllAtWorkOnTasksThatWaitForEachOther) {
  Workers workers(3);
  std::atomic<int> present = 0;
  workers.Run(3, [&](std::int64_t) {
    ++present;
    while (present < 3) std::this_thread::yield();
  });
  EXPECT_EQ(present, 3);
}

// Whether the condition came to hold within ten seconds.
template <typename Condition>
bool ComesToHold(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// Whichever thread is held up by the first task of its share: the other ones
// take what is left of that.
TEST(SharedWorkersTest, TakeWhatAThreadThatIsHeldUpHasLeft) {
  constexpr std::int64_t kTasks = 8;
  Workers workers(2);
  for (const std::int64_t slow : {std::int64_t{0}, kTasks / 2}) {
    std::atomic<std::int64_t> ended = 0;
    workers.Run(kTasks, [&](std::int64_t i) {
      if (i == slow) {
        EXPECT_TRUE(ComesToHold([&] { return ended == kTasks - 1; }));
      }
      ++ended;
    });
    EXPECT_EQ(ended, kTasks);
  }
}

// In step with each other, so that neither has to take over what is left.
TEST(SharedWorkersTest, TakeNeighbouringTasksEach) {
  constexpr std::size_t kShare = 4;
  Workers workers(2);
  std::atomic<std::size_t> begun = 0;
  std::vector<std::thread::id> taken(2 * kShare);
  workers.Run(2 * kShare, [&](std::int64_t i) {
    const auto task = static_cast<std::size_t>(i);
    taken[task] = std::this_thread::get_id();
    ++begun;
    EXPECT_TRUE(ComesToHold([&] { return begun >= 2 * (task % kShare + 1); }));
  });
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(taken[i], taken[i / kShare * kShare]) << i;
  }
  EXPECT_EQ(taken[0], std::this_thread::get_id());
}

TEST(SharedWorkersTest, DoNotMakeACallerWaitForAnothersTasks) {
  Workers workers(2);
  std::atomic<bool> may_end = false;
  std::atomic<int> started = 0;
  std::thread other([&] {
    workers.Run(2, [&](std::int64_t) {
      ++started;
      while (!may_end) std::this_thread::yield();
    });
  });
  while (started < 2) std::this_thread::yield();
  int runs = 0;  // no thread but this one counts
  workers.Run(100, [&](std::int64_t) { ++runs; });
  EXPECT_EQ(runs, 100);
  may_end = true;
  other.join();
}

}  // namespace
}  // namespace batchnorm::kernel
