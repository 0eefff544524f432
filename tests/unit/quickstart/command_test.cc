// `bn demo` without its process: what it prints, answers and leaves behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/demo_command.h"
#include "client/cli/diagnosis.h"
#include "client/client.h"
#include "server/rpc/server.h"
#include "tests/unit/quickstart/altering_connection.h"

namespace batchnorm::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

class DemoCommandTest : public ::testing::Test {
 protected:
  DemoCommandTest() {
    rpc::ServerOptions options;
    options.listen = {"localhost:0"};
    server_ = rpc::Server::Start(options).value();
    client::ConnectionOptions connection;
    connection.target = server_->addresses()[0];
    connection_ = std::make_shared<AlteringConnection>(
        client::MakeConnection(connection));
    client_ = std::make_unique<client::Client>(connection_);
  }

  absl::StatusOr<bool> Run(const DemoOptions& options,
                           OutputFormat format = OutputFormat::kTable) {
    return RunDemo(options, *client_,
                   {.result = result_,
                    .progress = &progress_,
                    .format = format,
                    .server_flag = " --server example:1"});
  }

  std::vector<client::SessionInfo> Sessions() {
    return client_->ListAllSessions("demo/").value();
  }

  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<AlteringConnection> connection_;
  std::unique_ptr<client::Client> client_;
  std::ostringstream result_;
  std::ostringstream progress_;
};

TEST_F(DemoCommandTest, ShowsEachPartAndPasses) {
  const auto passes = Run({});
  ASSERT_TRUE(passes.ok()) << passes.status();
  EXPECT_TRUE(*passes);
  EXPECT_THAT(result_.str(),
              AllOf(HasSubstr("\n     10   0."), HasSubstr("held-out digits"),
                    HasSubstr("counted by server"), HasSubstr("dgamma"),
                    HasSubstr("▁"), HasSubstr("try next"),
                    HasSubstr("bn demo --seed 2 --server example:1\n")));
  EXPECT_THAT(result_.str(), Not(HasSubstr("FAIL")));
  EXPECT_THAT(progress_.str(), HasSubstr("batch 23 of 23"));
}

TEST_F(DemoCommandTest, LeavesNoSessions) {
  ASSERT_TRUE(Run({.epochs = 1}).ok());
  EXPECT_THAT(Sessions(), IsEmpty());
}

TEST_F(DemoCommandTest, KeepLeavesTheSessionsItNames) {
  ASSERT_TRUE(Run({.epochs = 1, .keep = true}).ok());
  const auto sessions = Sessions();
  ASSERT_EQ(sessions.size(), 2U);
  EXPECT_THAT(sessions[0].name, MatchesRegex("demo/[0-9a-f]{8}/bn1"));
  EXPECT_EQ(sessions[0].last_step, 23U);
  EXPECT_THAT(result_.str(), HasSubstr("bn session show " + sessions[0].name +
                                       " --server example:1\n"));
}

TEST_F(DemoCommandTest, ANetworkThatHasNotLearnedDoesNotPass) {
  const auto passes = Run({.epochs = 1});
  ASSERT_TRUE(passes.ok()) << passes.status();
  EXPECT_FALSE(*passes);
  EXPECT_THAT(result_.str(), HasSubstr("FAIL"));
}

TEST_F(DemoCommandTest, AWrongGradientDoesNotPass) {
  connection_->alter_evaluate = [](v1::EvaluateResponse& response) {
    if (!response.has_dbeta()) return;
    response.mutable_dbeta()->mutable_data()->replace(0, 8, 8, '\0');
  };
  const auto passes = Run({});
  ASSERT_TRUE(passes.ok()) << passes.status();
  EXPECT_FALSE(*passes);
}

TEST_F(DemoCommandTest, JsonIsOneObjectAndNothingElse) {
  ASSERT_TRUE(Run({.epochs = 1}, OutputFormat::kJson).ok());
  const auto json = nlohmann::json::parse(result_.str());
  EXPECT_EQ(json["epochs"].size(), 1U);
  EXPECT_EQ(json["pass"], false);
}

TEST_F(DemoCommandTest, CsvIsTheEpochs) {
  ASSERT_TRUE(Run({.epochs = 2}, OutputFormat::kCsv).ok());
  EXPECT_THAT(result_.str(), StartsWith("epoch,loss,held_out_accuracy\n1,"));
}

TEST_F(DemoCommandTest, BadDataIsSaidBeforeAnythingIsCalled) {
  const auto passes = Run({.data = "/nowhere.csv"});
  ASSERT_FALSE(passes.ok());
  EXPECT_TRUE(DiagnosisOf(passes.status()).has_value());
  EXPECT_EQ(server_->counters().calls, 0);
}

TEST_F(DemoCommandTest, AReplyWithoutYIsAnErrorAndSessionsAreDeleted) {
  int forwards = 0;
  connection_->alter_forward = [&](v1::ForwardResponse& response) {
    if (++forwards == 9) response.clear_y();
  };
  EXPECT_FALSE(Run({.epochs = 1}).ok());
  EXPECT_THAT(Sessions(), IsEmpty());
}

}  // namespace
}  // namespace batchnorm::cli
