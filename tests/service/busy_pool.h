// Keeps a server's compute threads busy with large Evaluate calls, so that what
// happens to calls that wait can be seen.
#ifndef BATCHNORMD_TESTS_SERVICE_BUSY_POOL_H_
#define BATCHNORMD_TESTS_SERVICE_BUSY_POOL_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "tests/service/running_server.h"

namespace batchnorm::service_test {

// A request of about `bytes`, slow to answer.
v1::EvaluateRequest LargeEvaluate(std::int64_t bytes);

class BusyPool {
 public:
  // Starts `calls` calls of about `bytes` each, and returns when the server has
  // all but one of them in flight, and at least one.
  BusyPool(RunningServer& service, int calls, std::int64_t bytes);
  ~BusyPool();

  BusyPool(const BusyPool&) = delete;
  BusyPool& operator=(const BusyPool&) = delete;

  // Waits for all calls and returns what they ended with.
  std::vector<grpc::Status> Finish();

 private:
  std::vector<grpc::Status> statuses_;
  std::vector<std::thread> threads_;
};

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_BUSY_POOL_H_
