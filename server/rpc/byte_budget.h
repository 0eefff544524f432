// Bounds the request bytes that are worked on at once, over all calls, so that
// a burst of large tensors is refused and not swapped. Thread-safe, lock-free.
#ifndef BATCHNORMD_SERVER_RPC_BYTE_BUDGET_H_
#define BATCHNORMD_SERVER_RPC_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace batchnorm::rpc {

class ByteBudget {
 public:
  explicit ByteBudget(std::int64_t limit) : limit_(limit) {}

  // Takes `bytes` until Release. RESOURCE_EXHAUSTED `TOO_MANY_BYTES_IN_FLIGHT`
  // with a RetryInfo if the sum would pass the limit; but if nothing is taken,
  // any amount is given, so that no call is refused for ever.
  absl::Status Acquire(std::int64_t bytes);
  void Release(std::int64_t bytes);

  std::int64_t taken() const;

 private:
  const std::int64_t limit_;
  std::atomic<std::int64_t> taken_{0};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_BYTE_BUDGET_H_
