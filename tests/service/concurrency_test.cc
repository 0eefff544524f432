// Many connections at once on one session: each step is applied once, and
// everybody gets the same bytes.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/service/running_server.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

constexpr int kWorkers = 6;
constexpr std::uint64_t kSteps = 12;

v1::ForwardRequest ForwardOf(std::uint64_t step) {
  // Steps alternate between the queue's thread and the compute pool.
  const std::int64_t rows = step % 2 == 0 ? 50 : 6'000;
  v1::ForwardRequest request;
  request.set_session("shared");
  request.set_step(step);
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() =
      F64({rows, 2}, Noise(2 * static_cast<std::size_t>(rows), step));
  return request;
}

v1::BackwardRequest BackwardOf(const v1::ForwardRequest& forward) {
  v1::BackwardRequest request;
  request.set_session("shared");
  request.set_step(forward.step());
  *request.mutable_dy() = forward.x();
  return request;
}

// What one worker got, step by step.
struct Transcript {
  std::vector<std::string> forwards;
  std::vector<std::string> backwards;
};

// Takes every step as if it were the only worker. Those who come first take
// it, the others replay it.
Transcript Work(const std::string& address) {
  const auto stub = v1::BatchNormService::NewStub(Dial(address));
  Transcript transcript;
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    const v1::ForwardRequest forward = ForwardOf(step);
    v1::ForwardResponse forward_response;
    const grpc::Status forwarded =
        stub->Forward(NewContext().get(), forward, &forward_response);
    EXPECT_TRUE(forwarded.ok()) << forwarded.error_message();
    v1::BackwardResponse backward_response;
    const grpc::Status backwarded = stub->Backward(
        NewContext().get(), BackwardOf(forward), &backward_response);
    EXPECT_TRUE(backwarded.ok()) << backwarded.error_message();
    transcript.forwards.push_back(forward_response.SerializeAsString());
    transcript.backwards.push_back(backward_response.SerializeAsString());
  }
  return transcript;
}

// Creates, lists, reads and deletes sessions meanwhile.
void Disturb(const std::string& address, const std::atomic<bool>& stop) {
  const auto stub = v1::BatchNormService::NewStub(Dial(address));
  v1::CreateSessionRequest create;
  create.mutable_config()->set_channels(2);
  while (!stop) {
    v1::CreateSessionResponse created;
    EXPECT_TRUE(stub->CreateSession(NewContext().get(), create, &created).ok());
    v1::ListSessionsResponse page;
    EXPECT_TRUE(stub->ListSessions(NewContext().get(), {}, &page).ok());
    v1::DeleteSessionRequest remove;
    remove.set_name(created.session().name());
    v1::DeleteSessionResponse removed;
    EXPECT_TRUE(stub->DeleteSession(NewContext().get(), remove, &removed).ok());
  }
}

TEST(Concurrency, EachStepIsAppliedOnceAndAllGetTheSameBytes) {
  rpc::ServerOptions options = LoopbackOptions();
  options.threads = 3;
  RunningServer service(options);
  v1::SessionConfig config;
  config.set_channels(2);
  config.set_step_window(kSteps);
  service.CreateSession("shared", config);

  std::atomic<bool> stop{false};
  std::thread disturber([&] { Disturb(service.address(), stop); });
  std::vector<Transcript> transcripts(kWorkers);
  std::vector<std::thread> workers;
  workers.reserve(kWorkers);
  for (Transcript& transcript : transcripts) {
    workers.emplace_back(
        [&service, &transcript] { transcript = Work(service.address()); });
  }
  for (std::thread& worker : workers) worker.join();
  stop = true;
  disturber.join();

  for (const Transcript& transcript : transcripts) {
    EXPECT_EQ(transcript.forwards, transcripts.front().forwards);
    EXPECT_EQ(transcript.backwards, transcripts.front().backwards);
  }
  const v1::Session session = service.GetSession("shared");
  EXPECT_EQ(session.last_step(), kSteps);
  EXPECT_EQ(session.running_statistics().batch_count(),
            static_cast<std::int64_t>(kSteps));
  EXPECT_EQ(session.counters().forward_count(),
            static_cast<std::int64_t>(kSteps));
  EXPECT_EQ(session.counters().replay_count(),
            static_cast<std::int64_t>((kWorkers - 1) * kSteps));
}

TEST(Concurrency, CallsInFlightOfADeletedSessionSucceedOrAreNotFound) {
  RunningServer service;
  v1::SessionConfig config;
  config.set_channels(2);
  for (int round = 0; round < 5; ++round) {
    service.CreateSession("shared", config);
    std::vector<std::thread> workers;
    workers.reserve(kWorkers);
    for (int i = 0; i < kWorkers; ++i) {
      workers.emplace_back([&service] {
        const grpc::Status status = service.StatusOf(ForwardOf(1));
        EXPECT_TRUE(status.ok() ||
                    status.error_code() == grpc::StatusCode::NOT_FOUND)
            << status.error_message();
      });
    }
    v1::DeleteSessionRequest remove;
    remove.set_name("shared");
    EXPECT_TRUE(service.StatusOf(remove).ok());
    for (std::thread& worker : workers) worker.join();
  }
}

}  // namespace
}  // namespace batchnorm::service_test
