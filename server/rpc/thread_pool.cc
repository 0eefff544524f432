#include "server/rpc/thread_pool.h"

#include <iterator>
#include <utility>

namespace batchnorm::rpc {

ThreadPool::ThreadPool(int threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ThreadPool::Run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

std::int64_t ThreadPool::waiting() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(tasks_);
}

void ThreadPool::Work() {
  while (const std::function<void()> task = Take()) task();
}

std::function<void()> ThreadPool::Take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || !tasks_.empty(); });
  if (tasks_.empty()) return nullptr;
  std::function<void()> task = std::move(tasks_.front());
  tasks_.pop_front();
  return task;
}

}  // namespace batchnorm::rpc
