// A thread that forgets idle sessions now and then.
#ifndef BATCHNORMD_SERVER_RPC_IDLE_SWEEPER_H_
#define BATCHNORMD_SERVER_RPC_IDLE_SWEEPER_H_

#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "server/session/registry.h"

namespace batchnorm::rpc {

class IdleSweeper {
 public:
  // REQUIRES: the registry outlives the sweeper.
  IdleSweeper(session::Registry& registry, absl::Duration idle_ttl);
  ~IdleSweeper();

  IdleSweeper(const IdleSweeper&) = delete;
  IdleSweeper& operator=(const IdleSweeper&) = delete;

 private:
  void Sweep(absl::Duration period);
  bool StoppedWithin(absl::Duration period);

  session::Registry& registry_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_IDLE_SWEEPER_H_
