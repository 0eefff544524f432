// Counts the calls a server knows of, posted ones included, so that it can wait
// for all of them to be gone before it closes their completion queues.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_
#define BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace batchnorm::rpc {

class CallCensus {
 public:
  void Enter();
  void Leave();
  void WaitUntilEmpty();

  void CountAnswered() { ++answered_; }
  std::int64_t answered() const { return answered_; }

  void CountGivenUp() { ++given_up_; }
  std::int64_t given_up() const { return given_up_; }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::int64_t present_ = 0;  // guarded by mutex_
  std::atomic<std::int64_t> answered_{0};
  std::atomic<std::int64_t> given_up_{0};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_
