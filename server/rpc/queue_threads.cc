#include "server/rpc/queue_threads.h"

#include <grpcpp/alarm.h>

#include <deque>
#include <mutex>
#include <utility>

#include "server/rpc/event.h"

namespace batchnorm::rpc {

// Tasks wait here; gRPC only says that there is one. (So what they refer to
// passes from thread to thread by a lock that is ours, which a sanitizer sees.)
class QueueThreads::Queue {
 public:
  explicit Queue(grpc::CompletionQueue& queue) : queue_(queue) {}

  void Run(std::function<void()> task) {
    const gpr_timespec long_ago = gpr_time_0(GPR_CLOCK_REALTIME);
    const std::lock_guard lock(mutex_);
    Errand& errand = errands_.emplace_back();
    errand.task = std::move(task);
    errand.alarm->Set(&queue_, long_ago, &rung_);
  }

 private:
  struct Errand {
    std::function<void()> task;
    std::unique_ptr<grpc::Alarm> alarm = std::make_unique<grpc::Alarm>();
  };

  // As often as there are errands.
  void OnRung() {
    Errand errand;
    {
      const std::lock_guard lock(mutex_);
      errand = std::move(errands_.front());
      errands_.pop_front();
    }
    errand.task();
  }

  grpc::CompletionQueue& queue_;
  Event rung_{[this](bool) { OnRung(); }};
  std::mutex mutex_;
  std::deque<Errand> errands_;  // guarded by mutex_
};

QueueThreads::QueueThreads() = default;
QueueThreads::~QueueThreads() = default;

void QueueThreads::Add(grpc::CompletionQueue& queue) {
  queues_.push_back(std::make_unique<Queue>(queue));
}

void QueueThreads::Run(std::function<void()> task) {
  queues_[next_++ % queues_.size()]->Run(std::move(task));
}

}  // namespace batchnorm::rpc
