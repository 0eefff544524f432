// Holds calls at the moment their turn to be computed has come, so that what
// happens to those that wait can be seen without racing the kernel.
//
//   Gate gate;
//   rpc::ServerOptions options = LoopbackOptions();
//   options.threads = 1;
//   options.on_turn = gate.Hook();
//   RunningServer service(options);
//   HeldCall held(service, gate, 1024);  // the one thread is taken
//   ...
//   EXPECT_TRUE(held.Finish().ok());     // opens the gate for all
#ifndef BATCHNORMD_TESTS_SERVICE_HELD_CALL_H_
#define BATCHNORMD_TESTS_SERVICE_HELD_CALL_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "tests/service/running_server.h"

namespace batchnorm::service_test {

// An Evaluate request of about `bytes`.
v1::EvaluateRequest EvaluateOf(std::int64_t bytes);

// Fails the test if the condition is not met within half a minute.
void WaitUntil(const std::function<bool()>& condition);

// Closed at first; once opened it stays open. Copies are one gate.
class Gate {
 public:
  Gate();

  std::function<void()> Hook() const;
  void WaitUntilSomebodyWaits() const;
  void Open() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// One call of a thread of its own.
class HeldCall {
 public:
  // Returns when the gate holds the call.
  HeldCall(const RunningServer& service, const Gate& gate, std::int64_t bytes);
  ~HeldCall();

  HeldCall(const HeldCall&) = delete;
  HeldCall& operator=(const HeldCall&) = delete;

  // What the call ends with, without opening the gate.
  grpc::Status Await();
  // Opens the gate first.
  grpc::Status Finish();

 private:
  const Gate gate_;
  grpc::Status status_;
  std::thread thread_;
};

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_HELD_CALL_H_
