// How a server ends: health first, then the listeners, calls in flight last.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/service/held_call.h"
#include "tests/service/raw_call.h"
#include "tests/service/refusal.h"
#include "tests/service/running_server.h"

namespace batchnorm::service_test {
namespace {

constexpr char kService[] = "batchnorm.v1.BatchNormService";
constexpr std::int64_t kMebibyte = 1 << 20;

void WaitForHealth(const std::shared_ptr<grpc::Channel>& channel,
                   Health health) {
  while (HealthOf(channel, "") != health) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

grpc::Status ListSessions(const RunningServer& service) {
  return service.StatusOf(v1::ListSessionsRequest());
}

TEST(Drain, AServerIsHealthyAsAWholeAndByName) {
  const RunningServer service;
  EXPECT_EQ(HealthOf(service.channel(), ""), Health::kServing);
  EXPECT_EQ(HealthOf(service.channel(), kService), Health::kServing);
  EXPECT_EQ(HealthOf(service.channel(), "no.such.Service"), Health::kNoAnswer);
}

TEST(Drain, DuringTheGraceHealthSaysNoAndCallsAreServed) {
  RunningServer service;
  std::thread drain(
      [&service] { service.server().Drain(absl::Milliseconds(600)); });
  WaitForHealth(service.channel(), Health::kNotServing);
  EXPECT_EQ(HealthOf(service.channel(), kService), Health::kNotServing);
  EXPECT_TRUE(service.StatusOf(EvaluateOf(1024)).ok());
  EXPECT_TRUE(HealthOf(Dial(service.address()), "") == Health::kNotServing);
  drain.join();
  EXPECT_EQ(service.StatusOf(EvaluateOf(1024)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST(Drain, ACallInFlightFinishes) {
  const Gate gate;
  rpc::ServerOptions options = LoopbackOptions();
  options.on_turn = gate.Hook();
  RunningServer service(options);
  HeldCall held(service, gate, kMebibyte);
  std::thread drain(
      [&service] { service.server().Drain(absl::ZeroDuration()); });
  WaitUntil([&] { return !ListSessions(service).ok(); });
  const grpc::Status status = held.Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  drain.join();
}

TEST(Drain, AfterTheGraceNewCallsAreToldThatNothingChanged) {
  const Gate gate;
  rpc::ServerOptions options = LoopbackOptions();
  options.on_turn = gate.Hook();
  RunningServer service(options);
  HeldCall held(service, gate, 1024);
  std::thread drain(
      [&service] { service.server().Drain(absl::ZeroDuration()); });
  WaitUntil([&] { return !ListSessions(service).ok(); });
  EXPECT_EQ(RefusalOf(ListSessions(service)).reason, "SERVER_DRAINING");
  const Refusal refusal = RefusalOf(service.StatusOf(EvaluateOf(1024)));
  EXPECT_EQ(refusal.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refusal.reason, "SERVER_DRAINING");
  EXPECT_TRUE(held.Finish().ok());
  drain.join();
}

TEST(Drain, CallsThatTakeLongerThanTheTimeoutAreCancelled) {
  const Gate gate;
  rpc::ServerOptions options = LoopbackOptions();
  options.finish_timeout = absl::ZeroDuration();
  options.on_turn = gate.Hook();
  RunningServer service(options);
  HeldCall held(service, gate, kMebibyte);
  std::thread drain(
      [&service] { service.server().Drain(absl::ZeroDuration()); });
  EXPECT_FALSE(held.Await().ok());
  gate.Open();
  drain.join();
}

TEST(Drain, TwiceIsOnce) {
  RunningServer service;
  service.server().Drain(absl::ZeroDuration());
  service.server().Drain(absl::Seconds(100));
}

TEST(Drain, ServersCanBeStartedAndDrainedInTurn) {
  for (int i = 0; i < 3; ++i) {
    const RunningServer service;
    EXPECT_TRUE(service.StatusOf(EvaluateOf(1024)).ok());
  }
}

}  // namespace
}  // namespace batchnorm::service_test
