#include "tests/service/held_call.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {

v1::EvaluateRequest EvaluateOf(std::int64_t bytes) {
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

void WaitUntil(const std::function<bool()>& condition) {
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

struct Gate::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int waiting = 0;
};

Gate::Gate() : state_(std::make_shared<State>()) {}

std::function<void()> Gate::Hook() const {
  return [state = state_] {
    std::unique_lock lock(state->mutex);
    ++state->waiting;
    state->changed.notify_all();
    state->changed.wait(lock, [&] { return state->open; });
    --state->waiting;
  };
}

void Gate::WaitUntilSomebodyWaits() const {
  std::unique_lock lock(state_->mutex);
  EXPECT_TRUE(state_->changed.wait_for(lock, std::chrono::seconds(30),
                                       [this] { return state_->waiting > 0; }));
}

void Gate::Open() const {
  const std::lock_guard lock(state_->mutex);
  state_->open = true;
  state_->changed.notify_all();
}

HeldCall::HeldCall(const RunningServer& service, const Gate& gate,
                   std::int64_t bytes)
    : gate_(gate), thread_([this, &service, request = EvaluateOf(bytes)] {
        status_ = service.StatusOf(request);
      }) {
  gate_.WaitUntilSomebodyWaits();
}

HeldCall::~HeldCall() { Finish(); }

grpc::Status HeldCall::Await() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

grpc::Status HeldCall::Finish() {
  gate_.Open();
  return Await();
}

}  // namespace batchnorm::service_test
