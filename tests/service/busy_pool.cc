#include "tests/service/busy_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {

v1::EvaluateRequest LargeEvaluate(std::int64_t bytes) {
  const std::int64_t rows = bytes / 16;
  std::vector<double> values(static_cast<std::size_t>(2 * rows));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(i % 1000);
  }
  v1::EvaluateRequest request;
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({rows, 2}, values);
  return request;
}

BusyPool::BusyPool(RunningServer& service, int calls, std::int64_t bytes)
    : statuses_(static_cast<std::size_t>(calls)) {
  const v1::EvaluateRequest request = LargeEvaluate(bytes);
  for (grpc::Status& status : statuses_) {
    threads_.emplace_back(
        [&service, &status, request] { status = service.StatusOf(request); });
  }
  const std::int64_t awaited = bytes * std::max(1, calls - 1);
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (service.server().counters().bytes_in_flight < awaited &&
         std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

BusyPool::~BusyPool() { Finish(); }

std::vector<grpc::Status> BusyPool::Finish() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  return statuses_;
}

}  // namespace batchnorm::service_test
