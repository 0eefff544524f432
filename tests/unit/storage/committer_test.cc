// What arrives while a transaction is under way is committed together.
#include "server/storage/committer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/storage/memory_store.h"

namespace batchnorm::storage {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Each transaction waits until it is let go, or none does.
class GatedStore : public MemoryStore {
 public:
  absl::StatusOr<std::vector<Outcome>> Commit(
      std::span<const Write> writes) override {
    std::unique_lock lock(mutex_);
    sizes_.push_back(writes.size());
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ > 0; });
    --allowed_;
    if (!error_.ok()) return error_;
    return MemoryStore::Commit(writes);
  }

  void Allow(int transactions) {
    const std::lock_guard lock(mutex_);
    allowed_ += transactions;
    changed_.notify_all();
  }
  void WaitForTransaction(std::size_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return sizes_.size() >= number; });
  }
  void FailWith(absl::Status error) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
  }
  std::vector<std::size_t> sizes() {
    const std::lock_guard lock(mutex_);
    return sizes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0;
  absl::Status error_;
  std::vector<std::size_t> sizes_;
};

Write NewRow(int i) { return {std::to_string(i), {1, 0}, "", ""}; }

TEST(CommitterTest, WhatArrivesDuringATransactionSharesTheNext) {
  GatedStore store;
  std::atomic<int> done = 0;
  {
    Committer committer(store);
    const auto count = [&](const absl::StatusOr<Outcome>& outcome) {
      done += outcome.ok() && *outcome == Outcome::kDone;
    };
    committer.Commit(NewRow(0), count);
    store.WaitForTransaction(1);
    for (int i = 1; i <= 50; ++i) committer.Commit(NewRow(i), count);
    EXPECT_EQ(done, 0);
    store.Allow(2);
  }
  EXPECT_EQ(done, 51);
  EXPECT_THAT(store.sizes(), ElementsAre(1, 50));
}

TEST(CommitterTest, ALoneWriteWaitsForNobody) {
  GatedStore store;
  store.Allow(1);
  Committer committer(store);
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  committer.Commit(NewRow(0), [&](const absl::StatusOr<Outcome>&) {
    const std::lock_guard lock(mutex);
    done = true;
    finished.notify_one();
  });
  std::unique_lock lock(mutex);
  finished.wait(lock, [&] { return done; });
  EXPECT_THAT(store.sizes(), ElementsAre(1));
}

TEST(CommitterTest, OutcomesGoToTheirOwnWrites) {
  MemoryStore store;
  std::vector<Outcome> outcomes(3);
  {
    Committer committer(store);
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const std::uint64_t number = i == 1 ? 9 : 0;  // of no row
      committer.Commit({std::to_string(i), {1, number}, "", ""},
                       [&outcomes, i](const absl::StatusOr<Outcome>& outcome) {
                         outcomes[i] = *outcome;
                       });
    }
  }
  EXPECT_THAT(outcomes,
              ElementsAre(Outcome::kDone, Outcome::kConflict, Outcome::kDone));
}

TEST(CommitterTest, AnErrorIsToldToAllOfTheTransactionAndTheNextIsTried) {
  GatedStore store;
  store.FailWith(absl::ResourceExhaustedError("full"));
  std::vector<absl::StatusCode> codes(10);
  {
    Committer committer(store);
    const auto commit = [&](std::size_t i) {
      committer.Commit(NewRow(static_cast<int>(i)),
                       [&codes, i](const absl::StatusOr<Outcome>& outcome) {
                         codes[i] = outcome.status().code();
                       });
    };
    commit(0);
    store.WaitForTransaction(1);
    for (std::size_t i = 1; i < 9; ++i) commit(i);
    store.Allow(2);
    store.WaitForTransaction(2);
    store.Allow(1);
    commit(9);
  }
  EXPECT_THAT(codes, Each(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(*store.Count(), 0);
}

TEST(CommitterTest, ManyThreadsLoseNothing) {
  MemoryStore store;
  std::atomic<int> done = 0;
  {
    Committer committer(store);
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 500; ++i) {
          committer.Commit(NewRow(t * 1000 + i),
                           [&](const absl::StatusOr<Outcome>& outcome) {
                             done += *outcome == Outcome::kDone;
                           });
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(done, 2000);
  EXPECT_EQ(*store.Count(), 2000);
}

}  // namespace
}  // namespace batchnorm::storage
