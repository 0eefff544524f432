// A fixed number of threads that run tasks in the order they were given.
// Thread-safe. Tasks must not wait for other tasks.
#ifndef BATCHNORMD_SERVER_RPC_THREAD_POOL_H_
#define BATCHNORMD_SERVER_RPC_THREAD_POOL_H_

#include <condition_variable>
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

  // Runs what was given so far, then stops.
  ~ThreadPool();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Run(std::function<void()> task);

 private:
  void Work();
  std::function<void()> Take();  // empty once stopped and nothing is left

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopped_ = false;                     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_THREAD_POOL_H_
