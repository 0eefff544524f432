// What is refused for its size or its time, and that nothing changes by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/service/held_call.h"
#include "tests/service/refusal.h"
#include "tests/service/running_server.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

constexpr std::int64_t kMebibyte = 1 << 20;

rpc::ServerOptions OneThread(const Gate& gate) {
  rpc::ServerOptions options = LoopbackOptions();
  options.threads = 1;
  options.on_turn = gate.Hook();
  return options;
}

v1::SessionConfig OneChannel() {
  v1::SessionConfig config;
  config.set_channels(1);
  return config;
}

v1::ForwardRequest FirstForward() {
  v1::ForwardRequest request;
  request.set_session("s");
  request.set_step(1);
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({100, 1}, Noise(100, 1));
  return request;
}

void WaitUntilAllIsAnswered(const RunningServer& service) {
  WaitUntil([&service] { return service.counters().bytes_in_flight == 0; });
}

void WaitUntilOneHasGivenUp(const RunningServer& service) {
  WaitUntil([&service] { return service.counters().given_up == 1; });
}

TEST(MessageLimit, ALargerRequestIsRefusedByTheTransport) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_message_bytes = kMebibyte;
  const RunningServer service(options);
  const grpc::Status status = service.StatusOf(EvaluateOf(2 * kMebibyte));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RefusalOf(status).reason, "");
  EXPECT_FALSE(RefusalOf(status).retry_seconds.has_value());
}

TEST(MessageLimit, AReplyThatWouldNotFitIsRefusedBeforeTheStepIsTaken) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_message_bytes = kMebibyte;
  const RunningServer service(options);
  constexpr std::int64_t kChannels = 30'000;
  v1::SessionConfig config;
  config.set_channels(kChannels);
  service.CreateSession("wide", config);
  v1::ForwardRequest request;
  request.set_session("wide");
  request.set_step(1);
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() =
      F64({2, kChannels}, Noise(2 * std::size_t{kChannels}, 1));
  const grpc::Status status = service.StatusOf(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RefusalOf(status).reason, "TOO_LARGE_FOR_UNARY");
  v1::ListSessionsResponse page;
  EXPECT_TRUE(service.stub().ListSessions(NewContext().get(), {}, &page).ok());
  EXPECT_EQ(page.sessions(0).last_step(), 0U);
}

TEST(MessageLimit, AnEvaluateWithTooManyOutputsIsRefusedAndOneAtATimeFits) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_message_bytes = kMebibyte;
  const RunningServer service(options);
  v1::EvaluateRequest request;
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({70'000, 1}, Noise(70'000, 1));
  *request.mutable_dy() = F32({70'000, 1}, std::vector<float>(70'000, 1));
  EXPECT_THAT(service.StatusOf(request),
              Refused(grpc::StatusCode::RESOURCE_EXHAUSTED,
                      "TOO_LARGE_FOR_UNARY", "outputs"));
  request.add_outputs(v1::OUTPUT_DX);
  EXPECT_TRUE(service.StatusOf(request).ok());
}

TEST(TensorLimit, ALargerTensorIsRefusedWithTheLimit) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_tensor_bytes = 1000;
  const RunningServer service(options);
  v1::EvaluateRequest request;
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({126, 1}, Noise(126, 1));
  const grpc::Status status = service.StatusOf(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RefusalOf(status).reason, "TENSOR_TOO_LARGE");
  EXPECT_EQ(RefusalOf(status).metadata.at("max_tensor_bytes"), "1000");
  *request.mutable_x() = F64({125, 1}, Noise(125, 1));
  EXPECT_TRUE(service.StatusOf(request).ok());
}

TEST(BytesInFlight, ACallTooManyIsToldToComeBackAndThenSucceeds) {
  const Gate gate;
  rpc::ServerOptions options = OneThread(gate);
  options.max_bytes_in_flight = kMebibyte;
  const RunningServer service(options);
  const v1::EvaluateRequest request = EvaluateOf(1024);
  HeldCall held(service, gate, 2 * kMebibyte);
  const Refusal refusal = RefusalOf(service.StatusOf(request));
  EXPECT_EQ(refusal.code, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refusal.reason, "TOO_MANY_BYTES_IN_FLIGHT");
  ASSERT_TRUE(refusal.retry_seconds.has_value());
  EXPECT_GT(*refusal.retry_seconds, 0);
  EXPECT_LT(*refusal.retry_seconds, 10);
  EXPECT_TRUE(held.Finish().ok());
  WaitUntilAllIsAnswered(service);
  EXPECT_TRUE(service.StatusOf(request).ok());
}

TEST(BytesInFlight, ACallLargerThanTheLimitIsAnsweredWhenItIsAlone) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_bytes_in_flight = 1;
  const RunningServer service(options);
  EXPECT_TRUE(service.StatusOf(EvaluateOf(kMebibyte)).ok());
}

TEST(BytesInFlight, SessionCallsAreNeverRefused) {
  const Gate gate;
  rpc::ServerOptions options = OneThread(gate);
  options.max_bytes_in_flight = 1;
  const RunningServer service(options);
  const HeldCall held(service, gate, kMebibyte);
  EXPECT_EQ(service.CreateSession("s", OneChannel()).name(), "s");
}

TEST(Deadline, ACallWhoseTimeIsUpBeforeItsTurnIsNotComputed) {
  const Gate gate;
  const RunningServer service(OneThread(gate));
  service.CreateSession("s", OneChannel());
  HeldCall held(service, gate, 1024);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(1));
  v1::ForwardResponse response;
  EXPECT_EQ(
      service.stub().Forward(&context, FirstForward(), &response).error_code(),
      grpc::StatusCode::DEADLINE_EXCEEDED);
  // Its clock may be a little behind the caller's.
  WaitUntilOneHasGivenUp(service);
  EXPECT_TRUE(held.Finish().ok());
  WaitUntilAllIsAnswered(service);
  EXPECT_EQ(service.GetSession("s").last_step(), 0U);
  EXPECT_EQ(service.Forward(FirstForward()).step(), 1U);
}

TEST(Cancellation, ACallThatIsCancelledBeforeItsTurnIsNotComputed) {
  const Gate gate;
  const RunningServer service(OneThread(gate));
  service.CreateSession("s", OneChannel());
  HeldCall held(service, gate, 1024);
  const std::int64_t held_bytes = service.counters().bytes_in_flight;
  const auto context = NewContext();
  std::thread canceller([&] {
    WaitUntil([&] { return service.counters().bytes_in_flight > held_bytes; });
    context->TryCancel();
  });
  v1::ForwardResponse response;
  EXPECT_EQ(service.stub()
                .Forward(context.get(), FirstForward(), &response)
                .error_code(),
            grpc::StatusCode::CANCELLED);
  canceller.join();
  WaitUntilOneHasGivenUp(service);
  EXPECT_TRUE(held.Finish().ok());
  WaitUntilAllIsAnswered(service);
  EXPECT_EQ(service.GetSession("s").last_step(), 0U);
}

}  // namespace
}  // namespace batchnorm::service_test
