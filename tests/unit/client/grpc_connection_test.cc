// The connection over real gRPC, against a server that fails as told. Pauses
// between attempts are recorded, not slept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/connection.h"
#include "client/make_connection.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/fake_time.h"
#include "tests/unit/client/scripted_server.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "gone");
const grpc::Status kAborted(grpc::StatusCode::ABORTED, "again");

grpc::Status NotFound() {
  return wire::ToGrpcStatus(
      absl::NotFoundError("no session has that name"),
      wire::ErrorDetail{.reason = "SESSION_NOT_FOUND", .field = "name"});
}

grpc::Status Busy(absl::Duration delay) {
  return wire::ToGrpcStatus(
      absl::ResourceExhaustedError("busy"),
      wire::ErrorDetail{.reason = "TOO_MANY_BYTES_IN_FLIGHT",
                        .retry_after = delay});
}

v1::ForwardRequest TrainRequest(std::uint64_t step) {
  v1::ForwardRequest request;
  request.set_session("a");
  request.set_mode(v1::MODE_TRAIN);
  request.set_step(step);
  request.mutable_x()->set_data("0123");
  return request;
}

class GrpcConnectionTest : public ::testing::Test {
 protected:
  ConnectionOptions Options() {
    return {.target = server_.address(), .environment = time_.Environment()};
  }

  ScriptedServer server_;
  FakeTime time_;
  std::shared_ptr<Connection> connection_ = MakeConnection(Options());
};

TEST_F(GrpcConnectionTest, EveryCallReachesItsMethod) {
  v1::CreateSessionRequest create;
  v1::GetSessionRequest get;
  v1::ListSessionsRequest list;
  v1::UpdateSessionRequest update;
  v1::AcquireSessionRequest acquire;
  v1::ExportSessionRequest export_session;
  v1::ImportSessionRequest import_session;
  v1::DeleteSessionRequest erase;
  v1::BackwardRequest backward;
  v1::SyncRequest sync;
  v1::EvaluateRequest evaluate;
  create.set_name("create");
  get.set_name("get");
  list.set_prefix("list");
  update.set_name("update");
  acquire.set_name("acquire");
  export_session.set_name("export");
  import_session.set_name("import");
  erase.set_name("delete");
  backward.set_session("backward");
  sync.set_session("sync");
  evaluate.set_mode(v1::MODE_TRAIN);
  EXPECT_THAT(connection_->CreateSession(create), IsOk());
  EXPECT_THAT(connection_->GetSession(get), IsOk());
  EXPECT_THAT(connection_->ListSessions(list), IsOk());
  EXPECT_THAT(connection_->UpdateSession(update), IsOk());
  EXPECT_THAT(connection_->AcquireSession(acquire), IsOk());
  EXPECT_THAT(connection_->ExportSession(export_session), IsOk());
  EXPECT_THAT(connection_->ImportSession(import_session), IsOk());
  EXPECT_THAT(connection_->DeleteSession(erase), IsOk());
  EXPECT_THAT(connection_->Forward(TrainRequest(1)), IsOk());
  EXPECT_THAT(connection_->Backward(backward), IsOk());
  EXPECT_THAT(connection_->Sync(sync), IsOk());
  EXPECT_THAT(connection_->Evaluate(evaluate), IsOk());
  EXPECT_THAT(
      server_.received(),
      ElementsAre(
          create.SerializeAsString(), get.SerializeAsString(),
          list.SerializeAsString(), update.SerializeAsString(),
          acquire.SerializeAsString(), export_session.SerializeAsString(),
          import_session.SerializeAsString(), erase.SerializeAsString(),
          TrainRequest(1).SerializeAsString(), backward.SerializeAsString(),
          sync.SerializeAsString(), evaluate.SerializeAsString()));
}

TEST_F(GrpcConnectionTest, RetriesSendTheSameStep) {
  server_.FailWith({kUnavailable, kAborted, kUnavailable});
  EXPECT_THAT(connection_->Forward(TrainRequest(7)), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(4));
  EXPECT_THAT(server_.received(), Each(TrainRequest(7).SerializeAsString()));
  EXPECT_THAT(time_.pauses(), SizeIs(3));
}

TEST_F(GrpcConnectionTest, AStepWithoutANumberIsNotSentTwice) {
  server_.FailWith({kUnavailable});
  EXPECT_THAT(connection_->Forward(TrainRequest(0)),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_THAT(server_.received(), SizeIs(1));
}

TEST_F(GrpcConnectionTest, AStepWithoutANumberIsSentAgainIfNothingHasChanged) {
  server_.FailWith({kAborted, Busy(absl::Seconds(1))});
  EXPECT_THAT(connection_->Forward(TrainRequest(0)), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(3));
}

TEST_F(GrpcConnectionTest, InferenceHasNoStepAndIsSentAgain) {
  server_.FailWith({kUnavailable});
  v1::ForwardRequest request = TrainRequest(0);
  request.set_mode(v1::MODE_INFERENCE);
  EXPECT_THAT(connection_->Forward(request), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(2));
}

TEST_F(GrpcConnectionTest, TheServersDelayIsHonoured) {
  server_.FailWith({Busy(absl::Seconds(3))});
  EXPECT_THAT(connection_->Forward(TrainRequest(1)), IsOk());
  EXPECT_THAT(time_.pauses(), ElementsAre(absl::Seconds(3)));
}

TEST_F(GrpcConnectionTest, ErrorsKeepTheirDetails) {
  server_.FailWith({NotFound()});
  const auto response = connection_->GetSession({});
  EXPECT_THAT(response, HasCodeAndReason(absl::StatusCode::kNotFound,
                                         "SESSION_NOT_FOUND"));
  EXPECT_EQ(Field(response.status()), "name");
  EXPECT_EQ(response.status().message(), "no session has that name");
  EXPECT_THAT(time_.pauses(), IsEmpty());
}

TEST_F(GrpcConnectionTest, AReplayIsVisible) {
  EXPECT_FALSE(connection_->Forward(TrainRequest(1))->replayed);
  server_.SayReplayed();
  EXPECT_TRUE(connection_->Forward(TrainRequest(1))->replayed);
}

TEST_F(GrpcConnectionTest, ASyncIsSentAgainAndItsReplayIsVisible) {
  server_.FailWith({kUnavailable, kAborted});
  v1::SyncRequest request;
  request.set_step(7);
  EXPECT_FALSE(connection_->Sync(request)->replayed);
  EXPECT_THAT(server_.received(), SizeIs(3));
  EXPECT_THAT(server_.received(), Each(request.SerializeAsString()));
  server_.SayReplayed();
  EXPECT_TRUE(connection_->Sync(request)->replayed);
}

TEST_F(GrpcConnectionTest, ADeleteThatFindsNothingSaysSo) {
  server_.FailWith({NotFound()});
  EXPECT_THAT(connection_->DeleteSession({}),
              HasCode(absl::StatusCode::kNotFound));
}

TEST_F(GrpcConnectionTest, ADeleteWhoseReplyWasLostHasSucceeded) {
  server_.FailWith({kUnavailable, NotFound()});
  EXPECT_THAT(connection_->DeleteSession({}), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(2));
}

TEST_F(GrpcConnectionTest, ADeleteThatWasRefusedAndThenFindsNothingSaysSo) {
  server_.FailWith({kAborted, NotFound()});
  EXPECT_THAT(connection_->DeleteSession({}),
              HasCode(absl::StatusCode::kNotFound));
}

TEST_F(GrpcConnectionTest, RetriesOfAnAcquisitionAreOneWriter) {
  server_.FailWith({kUnavailable, kUnavailable});
  EXPECT_THAT(Client(connection_).AcquireSession({.name = "a"}), IsOk());
  ASSERT_THAT(server_.received(), SizeIs(3));
  EXPECT_THAT(server_.received(), Each(server_.received()[0]));
  v1::AcquireSessionRequest request;
  ASSERT_TRUE(request.ParseFromString(server_.received()[0]));
  EXPECT_THAT(request.nonce(), SizeIs(16));
}

TEST_F(GrpcConnectionTest, TwoAcquisitionsAreTwoWriters) {
  const Client client(connection_);
  EXPECT_THAT(client.AcquireSession({.name = "a"}), IsOk());
  EXPECT_THAT(client.AcquireSession({.name = "a"}), IsOk());
  EXPECT_NE(server_.received()[0], server_.received()[1]);
}

TEST_F(GrpcConnectionTest, ExportAndImportAreSentAgain) {
  server_.FailWith({kUnavailable});
  EXPECT_THAT(connection_->ExportSession({}), IsOk());
  server_.FailWith({kUnavailable});
  EXPECT_THAT(connection_->ImportSession({}), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(4));
}

TEST_F(GrpcConnectionTest, AStoreThatFailedIsAskedAgain) {
  server_.FailWith(
      {wire::ToGrpcStatus(absl::UnavailableError("disk"),
                          wire::ErrorDetail{.reason = "STORE_FAILED"})});
  EXPECT_THAT(connection_->ImportSession({}), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(2));
}

TEST_F(GrpcConnectionTest, AWriterThatIsFencedIsToldAtOnce) {
  server_.FailWith({wire::ToGrpcStatus(
      absl::FailedPreconditionError("another run has acquired the session"),
      wire::ErrorDetail{.reason = "FENCED", .field = "writer_token"})});
  EXPECT_THAT(
      connection_->Forward(TrainRequest(1)),
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "FENCED"));
  EXPECT_THAT(server_.received(), SizeIs(1));
}

TEST_F(GrpcConnectionTest, AHangingServerCostsAttemptsOfTheTimeout) {
  server_.Hang();
  ConnectionOptions options = Options();
  options.timeout = absl::Milliseconds(30);
  options.retry.max_attempts = 2;
  EXPECT_THAT(MakeConnection(options)->Forward(TrainRequest(1)),
              HasCode(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(time_.pauses(), SizeIs(1));
}

TEST_F(GrpcConnectionTest, TheBudgetOfTheCallShortensTheAttempt) {
  server_.Hang();
  ConnectionOptions options = Options();
  options.timeout = absl::Minutes(10);
  options.retry.total_timeout = absl::Milliseconds(30);
  options.retry.max_attempts = 1;
  EXPECT_THAT(MakeConnection(options)->GetSession({}),
              HasCode(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(GrpcConnectionTest, NoServerIsUnavailableAfterAllAttempts) {
  std::string address;
  {
    address = ScriptedServer().address();
  }
  ConnectionOptions options = Options();
  options.target = address;
  options.retry.max_attempts = 3;
  EXPECT_THAT(MakeConnection(options)->GetSession({}),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_THAT(time_.pauses(), SizeIs(2));
}

TEST_F(GrpcConnectionTest, MessagesOfAnySizePassBothWays) {
  constexpr std::size_t kBytes = 20'000'000;  // gRPC's own limit is 4 MiB
  server_.ReplyWithY(kBytes);
  v1::ForwardRequest request = TrainRequest(1);
  request.mutable_x()->mutable_data()->assign(kBytes, 'x');
  const auto reply = connection_->Forward(request);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->response.y().data(), std::string(kBytes, 'y'));
}

// gRPC's own retries would stop here without a word.
TEST_F(GrpcConnectionTest, LargeMessagesAreRetriedLikeSmallOnes) {
  server_.FailWith({kUnavailable});
  v1::ForwardRequest request = TrainRequest(1);
  request.mutable_x()->mutable_data()->assign(1 << 20, 'x');
  EXPECT_THAT(connection_->Forward(request), IsOk());
  EXPECT_THAT(server_.received(), SizeIs(2));
}

TEST_F(GrpcConnectionTest, HealthIsWhatTheServerSays) {
  EXPECT_EQ(*connection_->CheckHealth(""), Health::kServing);
  server_.grpc_server().GetHealthCheckService()->SetServingStatus("", false);
  EXPECT_EQ(*connection_->CheckHealth(""), Health::kNotServing);
  EXPECT_EQ(*connection_->CheckHealth("nobody"), Health::kServiceUnknown);
}

TEST_F(GrpcConnectionTest, UnixSocketsAreTargets) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("bn_client_test_" + std::to_string(::getpid()));
  const ScriptedServer server("unix:" + path.string());
  ConnectionOptions options = Options();
  options.target = server.address();
  EXPECT_THAT(MakeConnection(options)->Forward(TrainRequest(1)), IsOk());
  EXPECT_THAT(server.received(), SizeIs(1));
}

TEST_F(GrpcConnectionTest, OneConnectionServesManyThreads) {
  const auto connection = MakeConnection({.target = server_.address()});
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&connection] {
      for (int k = 0; k < 20; ++k) {
        EXPECT_THAT(connection->Forward(TrainRequest(1)), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(server_.received(), SizeIs(160));
}

}  // namespace
}  // namespace batchnorm::client
