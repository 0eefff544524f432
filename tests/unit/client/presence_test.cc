// How a Presence keeps its Join open, and what ends it.
#include "client/presence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/make_connection.h"
#include "client/mock_connection.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;

// Says who is there once, then ends as scripted; OK: not before it is
// cancelled.
class ScriptedStream final : public JoinStream {
 public:
  explicit ScriptedStream(absl::Status end) : end_(std::move(end)) {}

  bool Read(v1::JoinResponse& response) override {
    std::unique_lock lock(mutex_);
    if (end_.ok() && !has_spoken_) {
      has_spoken_ = true;
      response.add_present_ranks(1);
      return true;
    }
    changed_.wait(lock, [this] { return !end_.ok() || is_cancelled_; });
    return false;
  }

  void Cancel() override {
    const std::lock_guard lock(mutex_);
    is_cancelled_ = true;
    changed_.notify_all();
  }

  absl::Status Finish() override {
    return end_.ok() ? absl::CancelledError("") : end_;
  }

 private:
  const absl::Status end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_spoken_ = false;
  bool is_cancelled_ = false;
};

absl::Status Aborted(const std::string& reason) {
  return ServerError(absl::StatusCode::kAborted, reason);
}

void WaitFor(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(condition());
}

// Its first streams end with `failures`, the next one stays.
class PresenceTest : public ::testing::Test {
 protected:
  Presence Join(std::vector<absl::Status> failures) {
    failures_ = std::move(failures);
    ON_CALL(*connection_, Join)
        .WillByDefault([this](const v1::JoinRequest& request) {
          const std::lock_guard lock(mutex_);
          requests_.push_back(request);
          const std::size_t index = requests_.size() - 1;
          return std::make_unique<ScriptedStream>(
              index < failures_.size() ? failures_[index] : absl::OkStatus());
        });
    return {connection_,
            {.session = "s", .rank = 1, .job = "run", .writer_token = "w"}};
  }

  std::vector<v1::JoinRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  std::shared_ptr<::testing::NiceMock<MockConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockConnection>>();

 private:
  mutable std::mutex mutex_;
  std::vector<absl::Status> failures_;
  std::vector<v1::JoinRequest> requests_;
};

TEST_F(PresenceTest, JoinsAsItWasToldAndKnowsWhoIsThere) {
  const Presence presence = Join({});
  WaitFor([&] { return !presence.present_ranks().empty(); });
  EXPECT_THAT(presence.present_ranks(), ElementsAre(1));
  EXPECT_THAT(presence.status(), IsOk());
  const v1::JoinRequest request = requests().at(0);
  EXPECT_EQ(request.session(), "s");
  EXPECT_EQ(request.rank(), 1U);
  EXPECT_EQ(request.job(), "run");
  EXPECT_EQ(request.writer_token(), "w");
}

TEST_F(PresenceTest, WhatPassesIsJoinedAgain) {
  const Presence presence =
      Join({absl::UnavailableError("gone"), absl::InternalError("RST_STREAM"),
            Aborted("GROUP_CHANGED"), BusyFor(absl::Milliseconds(1))});
  WaitFor([&] { return !presence.present_ranks().empty(); });
  EXPECT_EQ(requests().size(), 5U);
  EXPECT_THAT(presence.status(), IsOk());
}

TEST_F(PresenceTest, WhatDoesNotPassEndsItAndIsTold) {
  for (const absl::Status& end :
       {ServerError(absl::StatusCode::kAlreadyExists, "OTHER_JOB"),
        ServerError(absl::StatusCode::kFailedPrecondition, "FENCED"),
        ServerError(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND"),
        ServerError(absl::StatusCode::kInvalidArgument, "BAD_RANK"),
        absl::UnimplementedError("an older server")}) {
    const std::size_t before = requests().size();
    const Presence presence = Join(std::vector(before + 1, end));
    WaitFor([&] { return !presence.status().ok(); });
    EXPECT_EQ(presence.status(), end);
    EXPECT_EQ(requests().size(), before + 1);
  }
}

TEST_F(PresenceTest, TwoProcessesOfOneRankDoNotTakeTurns) {
  const Presence presence = Join({Aborted("CALL_REPLACED")});
  WaitFor([&] { return !presence.status().ok(); });
  EXPECT_THAT(presence.status(),
              HasCodeAndReason(absl::StatusCode::kAborted, "CALL_REPLACED"));
  EXPECT_EQ(requests().size(), 1U);
}

// A server that takes the connection and never says a word.
class SilentServer {
 public:
  SilentServer() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(socket_, any, size), 0);
    EXPECT_EQ(::listen(socket_, 1), 0);
    EXPECT_EQ(::getsockname(socket_, any, &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~SilentServer() { ::close(socket_); }

  const std::string& address() const { return address_; }

 private:
  int socket_;
  std::string address_;
};

TEST(SilentServerTest, APresenceEndsWithoutWaitingForIt) {
  const SilentServer server;
  auto connection = MakeConnection({.target = server.address()});
  auto presence = std::make_unique<Presence>(
      connection, JoinArgs{.session = "s", .job = "run"});
  absl::SleepFor(absl::Milliseconds(100));  // it connects
  const absl::Time start = absl::Now();
  presence.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace batchnorm::client
