// A store whose commits a test holds back, lets through, or makes fail.
#ifndef BATCHNORMD_TESTS_UNIT_SESSION_SLOW_STORE_H_
#define BATCHNORMD_TESTS_UNIT_SESSION_SLOW_STORE_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "server/storage/memory_store.h"

namespace batchnorm::session {

// Everything but Commit is a MemoryStore's.
class SlowStore : public storage::MemoryStore {
 public:
  absl::StatusOr<std::vector<storage::Outcome>> Commit(
      std::span<const storage::Write> writes) override {
    std::unique_lock lock(mutex_);
    ++started_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    if (!failure_.ok() && !writes_before_failing_) return failure_;
    auto outcomes = MemoryStore::Commit(writes);
    ++commits_;
    if (!failure_.ok()) return failure_;
    return outcomes;
  }

  void Hold() {
    Set([this] { held_ = true; });
  }
  void LetGo() {
    Set([this] { held_ = false; });
  }

  // Of all commits from now on. They may have been written all the same.
  void FailWith(absl::Status failure, bool written) {
    Set([&] {
      failure_ = std::move(failure);
      writes_before_failing_ = written;
    });
  }

  // Fails the test's patience, not the test, after 20 seconds.
  void AwaitStarted(int commits) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20),
                      [&] { return started_ >= commits; });
  }

  int commits() {
    const std::lock_guard lock(mutex_);
    return commits_;
  }

 private:
  template <typename Change>
  void Set(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool held_ = false;
  bool writes_before_failing_ = false;
  int started_ = 0;
  int commits_ = 0;
  absl::Status failure_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_TESTS_UNIT_SESSION_SLOW_STORE_H_
