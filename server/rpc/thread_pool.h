// A fixed number of threads that run tasks in the order they were given.
// Thread-safe. Tasks must not wait for other tasks.
#ifndef BATCHNORMD_SERVER_RPC_THREAD_POOL_H_
#define BATCHNORMD_SERVER_RPC_THREAD_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace batchnorm::rpc {

class ThreadPool {
 public:
  // REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);

  ~ThreadPool();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Run(std::function<void()> task);

  // Runs what was given so far, then ends the threads. Not from one of them.
  void Stop();

  // Tasks that wait for a thread.
  std::int64_t waiting() const;

 private:
  void Work();
  std::function<void()> Take();  // empty once stopped and nothing is left

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopped_ = false;                     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_THREAD_POOL_H_
