// The threads that wait for completion queues, to answer calls on: what an
// answer sets off comes to the same thread, and no other one is woken for it.
#ifndef BATCHNORMD_SERVER_RPC_QUEUE_THREADS_H_
#define BATCHNORMD_SERVER_RPC_QUEUE_THREADS_H_

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace batchnorm::rpc {

// Thread-safe, but for Add.
class QueueThreads {
 public:
  QueueThreads();
  ~QueueThreads();

  // A queue whose events are reacted to until it is shut down (event.h).
  void Add(grpc::CompletionQueue& queue);

  // Runs the task soon, on the thread of one queue or another.
  // REQUIRES: none of them is shut down, as a call is not answered yet.
  void Run(std::function<void()> task);

 private:
  class Queue;

  std::vector<std::unique_ptr<Queue>> queues_;
  std::atomic<std::size_t> next_ = 0;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_QUEUE_THREADS_H_
