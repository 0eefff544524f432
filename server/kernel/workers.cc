#include "server/kernel/workers.h"

#include <hwy/cache_control.h>

#include <cassert>
#include <chrono>

namespace batchnorm::kernel {
namespace {

// Longer than what lies between two passes, short beside a thread's time slice.
constexpr std::chrono::microseconds kLookout{50};

template <typename Condition>
void LookOutFor(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kLookout;
  while (!condition() && std::chrono::steady_clock::now() < end) hwy::Pause();
}

}  // namespace

Workers::Workers(int threads) : shares_(static_cast<std::size_t>(threads)) {
  assert(threads >= 1);
  for (std::size_t i = 1; i < shares_.size(); ++i) {
    threads_.emplace_back([this, i] { Work(i); });
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  started_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Workers& Workers::Inline() {
  static Workers workers(1);
  return workers;
}

void Workers::RunAll(std::int64_t tasks,
                     const std::function<void(std::int64_t)>& task) {
  std::unique_lock in_use(in_use_, std::defer_lock);
  if (threads_.empty() || tasks <= 1 || !in_use.try_lock()) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
    return;
  }
  Publish(tasks, task);
  TakeTasks(0, task);
  Retract();
}

void Workers::Publish(std::int64_t tasks,
                      const std::function<void(std::int64_t)>& task) {
  bool someone_sleeps = false;
  {
    const std::lock_guard lock(mutex_);
    task_ = &task;
    for (std::int64_t i = 0; i < threads(); ++i) {
      Share& share = shares_[static_cast<std::size_t>(i)];
      share.next.store(tasks * i / threads(), std::memory_order_relaxed);
      share.end = tasks * (i + 1) / threads();
    }
    generation_.fetch_add(1, std::memory_order_release);
    someone_sleeps = sleepers_ > 0;
  }
  if (someone_sleeps) started_.notify_all();
}

// Returns when no thread can call the task any more.
void Workers::Retract() {
  {
    const std::lock_guard lock(mutex_);
    task_ = nullptr;
  }
  const auto all_ended = [this] {
    return busy_.load(std::memory_order_acquire) == 0;
  };
  LookOutFor(all_ended);
  std::unique_lock lock(mutex_);
  ended_.wait(lock, all_ended);
}

void Workers::Work(std::size_t thread) {
  std::uint64_t seen = 0;
  while (true) {
    LookOutFor(
        [&] { return generation_.load(std::memory_order_acquire) != seen; });
    std::unique_lock lock(mutex_);
    ++sleepers_;
    started_.wait(lock, [&] { return stopped_ || generation_ != seen; });
    --sleepers_;
    if (stopped_) return;
    seen = generation_;
    if (task_ == nullptr) continue;
    const std::function<void(std::int64_t)>& task = *task_;
    ++busy_;
    lock.unlock();
    TakeTasks(thread, task);
    lock.lock();
    if (--busy_ == 0) ended_.notify_one();
  }
}

// From its own share, then from those that follow.
void Workers::TakeTasks(std::size_t thread,
                        const std::function<void(std::int64_t)>& task) {
  for (std::size_t k = 0; k < shares_.size(); ++k) {
    Share& share = shares_[(thread + k) % shares_.size()];
    while (true) {
      const std::int64_t i = share.next.fetch_add(1, std::memory_order_relaxed);
      if (i >= share.end) break;
      task(i);
    }
  }
}

}  // namespace batchnorm::kernel
