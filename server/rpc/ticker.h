// A thread that does something now and then.
#ifndef BATCHNORMD_SERVER_RPC_TICKER_H_
#define BATCHNORMD_SERVER_RPC_TICKER_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace batchnorm::rpc {

class Ticker {
 public:
  // Calls `tick` after each `period`, on a thread of its own.
  Ticker(absl::Duration period, std::function<void()> tick);
  // Waits for the tick under way.
  ~Ticker();

  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  bool StoppedWithin(absl::Duration period);

  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_TICKER_H_
