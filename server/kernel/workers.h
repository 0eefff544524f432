// A fixed pool of threads that share the work of one tensor.
//
// The caller takes part: Workers(1) has no thread of its own and runs all
// inline, and a call that finds the pool busy with another caller's tensor does
// its work alone instead of waiting. So calls never block on each other, and
// there are never more threads at work than callers plus the pool. A thread
// that is slow to wake is not waited for: the others do its share. One that has
// just worked looks out for more for a moment before it sleeps, because the
// passes over a tensor follow each other closely. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_WORKERS_H_
#define BATCHNORMD_SERVER_KERNEL_WORKERS_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace batchnorm::kernel {

class Workers {
 public:
  // `threads` at most work at once, the caller among them. REQUIRES: >= 1.
  explicit Workers(int threads);
  ~Workers();

  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // The one without threads.
  static Workers& Inline();

  int threads() const { return static_cast<int>(threads_.size()) + 1; }

  // While one exists, its thread's time counts as work.
  class Timer {
   public:
    explicit Timer(Workers& workers)
        : workers_(workers), begin_(std::chrono::steady_clock::now()) {}
    ~Timer() {
      workers_.worked_ += (std::chrono::steady_clock::now() - begin_).count();
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Workers& workers_;
    const std::chrono::steady_clock::time_point begin_;
  };
  // How long callers have worked, all together.
  std::chrono::steady_clock::duration worked() const {
    return std::chrono::steady_clock::duration(worked_.load());
  }

  // Calls task(i) once for every i in [0, tasks), in any order, from several
  // threads, and returns when all have ended. Tasks must not call Run.
  template <typename Task>
  void Run(std::int64_t tasks, const Task& task) {
    RunAll(tasks, std::cref(task));  // which a function holds without a copy
  }

 private:
  // The tasks that a thread takes first, so that what it takes in one call lies
  // near what it took in the last one, and in its own caches. They are all in
  // order, and others take what is left of them in the end.
  struct alignas(64) Share {
    std::atomic<std::int64_t> next = 0;
    std::int64_t end = 0;
  };

  void RunAll(std::int64_t tasks,
              const std::function<void(std::int64_t)>& task);
  void Work(std::size_t thread);
  void TakeTasks(std::size_t thread,
                 const std::function<void(std::int64_t)>& task);
  void Publish(std::int64_t tasks,
               const std::function<void(std::int64_t)>& task);
  void Retract();

  std::mutex in_use_;  // held by the caller whose tasks the pool runs
  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable ended_;
  // Written under mutex_; the atomic ones are also read without it.
  bool stopped_ = false;
  std::vector<Share> shares_;  // the caller's is the first
  const std::function<void(std::int64_t)>* task_ = nullptr;  // null: no work
  int sleepers_ = 0;
  std::atomic<int> busy_ = 0;                  // threads that may call *task_
  std::atomic<std::uint64_t> generation_ = 0;  // counts calls of Run
  std::atomic<std::chrono::steady_clock::rep> worked_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_WORKERS_H_
