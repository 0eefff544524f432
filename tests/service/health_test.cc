// grpc.health.v1.Health, as any orchestrator asks it.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/service/running_server.h"

namespace batchnorm::service_test {
namespace {

using Api = grpc::health::v1::Health;
using Request = grpc::health::v1::HealthCheckRequest;
using Response = grpc::health::v1::HealthCheckResponse;

constexpr char kService[] = "batchnorm.v1.BatchNormService";

Request About(const std::string& service) {
  Request request;
  request.set_service(service);
  return request;
}

// A Watch of one service.
class Watch {
 public:
  Watch(const RunningServer& service, const std::string& name)
      : stub_(Api::NewStub(service.channel())) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    stream_ = stub_->Watch(&context_, About(name));
  }

  // What is told next; UNKNOWN if nothing is.
  Response::ServingStatus Next() {
    Response response;
    return stream_->Read(&response) ? response.status() : Response::UNKNOWN;
  }
  void Leave() { context_.TryCancel(); }
  grpc::Status End() { return stream_->Finish(); }

 private:
  std::unique_ptr<Api::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Response>> stream_;
};

TEST(Health, CheckKnowsTheServerItsServiceAndNoOther) {
  const RunningServer service;
  const auto stub = Api::NewStub(service.channel());
  for (const std::string name : {"", kService}) {
    grpc::ClientContext context;
    Response response;
    ASSERT_TRUE(stub->Check(&context, About(name), &response).ok());
    EXPECT_EQ(response.status(), Response::SERVING);
  }
  grpc::ClientContext context;
  Response response;
  const auto status = stub->Check(&context, About("no.such"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(Health, WatchTellsNowThenWhenTheServerDrainsAndEnds) {
  RunningServer service;
  Watch whole(service, "");
  Watch named(service, kService);
  EXPECT_EQ(whole.Next(), Response::SERVING);
  EXPECT_EQ(named.Next(), Response::SERVING);
  std::thread drain(
      [&service] { service.server().Drain(absl::Milliseconds(50)); });
  EXPECT_EQ(whole.Next(), Response::NOT_SERVING);
  EXPECT_EQ(named.Next(), Response::NOT_SERVING);
  EXPECT_EQ(whole.Next(), Response::UNKNOWN);
  EXPECT_EQ(whole.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(named.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST(Health, WatchOfAnUnknownServiceSaysSoAndStaysOpen) {
  RunningServer service;
  Watch watch(service, "no.such");
  EXPECT_EQ(watch.Next(), Response::SERVICE_UNKNOWN);
  service.server().Drain(absl::ZeroDuration());
  EXPECT_EQ(watch.Next(), Response::UNKNOWN);  // nothing but the end
  EXPECT_EQ(watch.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Health, WatchersMayLeaveAndTheOthersAreStillTold) {
  RunningServer service;
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 100; ++i) {
    watches.push_back(std::make_unique<Watch>(service, ""));
    EXPECT_EQ(watches.back()->Next(), Response::SERVING);
  }
  for (std::size_t i = 0; i < watches.size(); i += 2) {
    watches[i]->Leave();
    EXPECT_EQ(watches[i]->End().error_code(), grpc::StatusCode::CANCELLED);
  }
  service.server().Drain(absl::ZeroDuration());
  for (std::size_t i = 1; i < watches.size(); i += 2) {
    EXPECT_EQ(watches[i]->Next(), Response::NOT_SERVING);
  }
}

// An idle watcher does not keep a server from ending.
TEST(Health, AServerWithWatchersEndsSoon) {
  RunningServer service;
  Watch watch(service, "");
  EXPECT_EQ(watch.Next(), Response::SERVING);
  const auto begin = std::chrono::steady_clock::now();
  service.server().Drain(absl::ZeroDuration());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

}  // namespace
}  // namespace batchnorm::service_test
