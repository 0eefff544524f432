// Counts the calls a server knows of, so that it can end in order: first no
// call is received any more and those that were are answered, then all are
// gone, posted ones included, and their completion queues can close.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_
#define BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/time/time.h"

namespace batchnorm::rpc {

class CallCensus {
 public:
  void Enter();
  void Leave();
  void WaitUntilEmpty();

  // A call has been received: whether it may be served. Each is followed by
  // CountAnswered, also when it may not.
  bool Receive();
  void RefuseFromNowOn();
  void CountAnswered();
  std::int64_t answered() const;
  // Returns when all that were received are answered, or at the deadline.
  void WaitUntilAnswered(absl::Time deadline);

  void CountGivenUp() { ++given_up_; }
  std::int64_t given_up() const { return given_up_; }

 private:
  mutable std::mutex mutex_;  // guards all up to given_up_
  std::condition_variable changed_;
  std::int64_t present_ = 0;
  std::int64_t received_ = 0;
  std::int64_t answered_ = 0;
  bool refusing_ = false;
  std::atomic<std::int64_t> given_up_{0};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CALL_CENSUS_H_
