#include "server/rpc/queue_threads.h"

#include <grpcpp/alarm.h>

#include <utility>

#include "server/rpc/event.h"

namespace batchnorm::rpc {
namespace {

// Owns itself until it has run.
class Errand {
 public:
  static void Post(std::function<void()> task, grpc::CompletionQueue& queue) {
    auto* errand = new Errand(std::move(task));
    const gpr_timespec long_ago = gpr_time_0(GPR_CLOCK_REALTIME);
    errand->alarm_.Set(&queue, long_ago, &errand->event_);
  }

 private:
  explicit Errand(std::function<void()> task) : task_(std::move(task)) {}

  void Run() {
    task_();
    delete this;
  }

  std::function<void()> task_;
  Event event_{[this](bool) { Run(); }};
  grpc::Alarm alarm_;
};

}  // namespace

void QueueThreads::Run(std::function<void()> task) {
  Errand::Post(std::move(task), *queues_[next_++ % queues_.size()]);
}

}  // namespace batchnorm::rpc
