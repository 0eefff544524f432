// The demo on a real server: it learns, it tells the truth about what it did,
// and it notices when the service does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/demo_training.h"
#include "client/make_connection.h"
#include "server/rpc/server.h"
#include "tests/unit/quickstart/altering_connection.h"

namespace batchnorm::cli {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Lt;

class DemoTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    rpc::ServerOptions options;
    options.listen = {"localhost:0"};
    server_ = rpc::Server::Start(options).value();
    digits_ = new Digits(ReadDigits(FindDigits("").value()).value());
  }

  static void TearDownTestSuite() {
    delete digits_;
    server_.reset();
  }

  static std::shared_ptr<AlteringConnection> Connect() {
    client::ConnectionOptions options;
    options.target = server_->addresses()[0];
    return std::make_shared<AlteringConnection>(
        client::MakeConnection(options));
  }

  static absl::StatusOr<TrainingReport> TrainOn(
      const std::shared_ptr<client::Connection>& connection, int epochs,
      std::uint64_t seed = 1) {
    const client::Client client(connection);
    auto report =
        Train(client, *digits_,
              {.session_prefix = "demo/test", .seed = seed, .epochs = epochs});
    EXPECT_TRUE(DeleteSessions(client, "demo/test").ok());
    return report;
  }

  // As `bn demo` runs by default; once for all tests that only look at it.
  static const TrainingReport& DefaultRun() {
    static const TrainingReport report = TrainOn(Connect(), 10).value();
    return report;
  }

  static std::unique_ptr<rpc::Server> server_;
  static Digits* digits_;
};

std::unique_ptr<rpc::Server> DemoTest::server_;
Digits* DemoTest::digits_ = nullptr;

std::vector<double> Losses(const TrainingReport& report) {
  std::vector<double> losses;
  losses.reserve(report.epochs.size());
  for (const EpochReport& epoch : report.epochs) losses.push_back(epoch.loss);
  return losses;
}

TEST_F(DemoTest, ReadsHeldOutDigitsRight) {
  EXPECT_THAT(DefaultRun().accuracy(), Ge(kAccuracyBound));
  EXPECT_EQ(DefaultRun().held_out_digits, 359U);
  EXPECT_THAT(Losses(DefaultRun()).back(), Lt(0.1));
}

TEST_F(DemoTest, LearnsFromOtherSeedsToo) {
  for (std::uint64_t seed : {2U, 3U}) {
    const auto report = TrainOn(Connect(), 10, seed);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_THAT(report->accuracy(), Ge(0.95)) << "seed " << seed;
  }
}

TEST_F(DemoTest, TheServerCountsTheCallsThatWereSent) {
  // 1,438 digits in batches of 64 are 23 a epoch.
  const CallCounts expected{
      .forwards = 230, .inferences = 10, .backwards = 230, .replays = 0};
  ASSERT_EQ(DefaultRun().layers.size(), 2U);
  for (const DemoLayerReport& layer : DefaultRun().layers) {
    EXPECT_EQ(layer.sent, expected) << layer.name;
    EXPECT_EQ(layer.received, expected) << layer.name;
    EXPECT_EQ(layer.running.batch_count, 230) << layer.name;
  }
}

TEST_F(DemoTest, RunningStatisticsAreThoseOfRealActivations) {
  EXPECT_EQ(DefaultRun().layers[0].running.mean.size(), 64U);
  EXPECT_EQ(DefaultRun().layers[1].running.mean.size(), 32U);
  for (const DemoLayerReport& layer : DefaultRun().layers) {
    EXPECT_THAT(layer.running.var, Each(testing::Gt(0.0)));
  }
}

TEST_F(DemoTest, TwoRunsGiveTheSameLossesBitForBit) {
  const auto first = TrainOn(Connect(), 2);
  const auto second = TrainOn(Connect(), 2);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_EQ(Losses(*first), Losses(*second));
}

TEST_F(DemoTest, TheSeedChangesTheRun) {
  const auto first = TrainOn(Connect(), 1, 1);
  const auto second = TrainOn(Connect(), 1, 2);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_NE(Losses(*first), Losses(*second));
}

// Sets the first element of an f32 tensor.
void Corrupt(v1::Tensor& tensor) {
  const float wrong = 3;
  ASSERT_GE(tensor.data().size(), sizeof wrong);
  std::memcpy(tensor.mutable_data()->data(), &wrong, sizeof wrong);
}

TEST_F(DemoTest, OneCorruptedElementOfOneYChangesTheFinalLoss) {
  const auto whole = TrainOn(Connect(), 2);
  auto connection = Connect();
  int forwards = 0;
  connection->alter_forward = [&](v1::ForwardResponse& response) {
    if (++forwards == 7) Corrupt(*response.mutable_y());
  };
  const auto corrupted = TrainOn(connection, 2);
  ASSERT_TRUE(whole.ok() && corrupted.ok())
      << whole.status() << corrupted.status();
  EXPECT_GT(forwards, 7);
  EXPECT_NE(Losses(*whole).back(), Losses(*corrupted).back());
}

TEST_F(DemoTest, AReplyOfTheWrongSizeIsAnErrorThatSaysWhatCame) {
  auto connection = Connect();
  connection->alter_forward = [](v1::ForwardResponse& response) {
    response.mutable_y()->set_dtype(v1::DTYPE_F64);
    response.mutable_y()->mutable_data()->append(response.y().data());
  };
  EXPECT_FALSE(TrainOn(connection, 1).ok());
}

TEST_F(DemoTest, SessionsAreGoneAfterDeleteSessions) {
  const client::Client client(Connect());
  ASSERT_TRUE(
      Train(client, *digits_, {.session_prefix = "demo/gone", .epochs = 1})
          .ok());
  EXPECT_EQ(client.ListAllSessions("demo/gone/")->size(), 2U);
  EXPECT_TRUE(DeleteSessions(client, "demo/gone").ok());
  EXPECT_THAT(*client.ListAllSessions("demo/gone/"), IsEmpty());
  EXPECT_TRUE(DeleteSessions(client, "demo/gone").ok());
}

TEST_F(DemoTest, NothingToLearnIsRefused) {
  const client::Client client(Connect());
  EXPECT_TRUE(absl::IsInvalidArgument(Train(client, Digits(), {}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Train(client, *digits_, {.epochs = 0}).status()));
}

TEST_F(DemoTest, GradientsAgreeWithNumericalDifferentiation) {
  const auto errors =
      CheckGradients(client::Client(Connect()), DefaultRun().probe);
  ASSERT_TRUE(errors.ok()) << errors.status();
  EXPECT_TRUE(Passes(*errors))
      << errors->dx.relative << " " << errors->dgamma.relative << " "
      << errors->dbeta.relative;
  EXPECT_EQ(errors->dx.elements, 64U * 64U);
  EXPECT_EQ(errors->dgamma.elements, 64U);
  EXPECT_EQ(errors->dbeta.elements, 64U);
}

// Raises one element by a millionth of the largest.
void Plant(v1::Tensor& tensor) {
  std::vector<double> values(tensor.data().size() / sizeof(double));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  double largest = 0;
  for (double v : values) largest = std::max(largest, std::abs(v));
  values[5] += 1e-6 * largest;
  std::memcpy(tensor.mutable_data()->data(), values.data(),
              tensor.data().size());
}

// The errors that CheckGradients finds where `plant` alters the gradients.
GradientErrors ErrorsWithPlanted(
    std::shared_ptr<AlteringConnection> connection, const GradientProbe& probe,
    const std::function<void(v1::EvaluateResponse&)>& plant) {
  connection->alter_evaluate = [=](v1::EvaluateResponse& response) {
    if (response.has_dx()) plant(response);
  };
  return CheckGradients(client::Client(std::move(connection)), probe).value();
}

TEST_F(DemoTest, AWrongDxFailsTheGradientCheck) {
  const GradientErrors errors = ErrorsWithPlanted(
      Connect(), DefaultRun().probe,
      [](v1::EvaluateResponse& response) { Plant(*response.mutable_dx()); });
  EXPECT_FALSE(Passes(errors));
  EXPECT_NEAR(errors.dx.relative, 1e-6, 1e-8);
  EXPECT_LE(errors.dgamma.relative, kGradientTolerance);
  EXPECT_LE(errors.dbeta.relative, kGradientTolerance);
}

TEST_F(DemoTest, AWrongDgammaFailsTheGradientCheck) {
  const GradientErrors errors = ErrorsWithPlanted(
      Connect(), DefaultRun().probe, [](v1::EvaluateResponse& response) {
        Plant(*response.mutable_dgamma());
      });
  EXPECT_FALSE(Passes(errors));
  EXPECT_NEAR(errors.dgamma.relative, 1e-6, 1e-8);
}

TEST_F(DemoTest, AWrongDbetaFailsTheGradientCheck) {
  const GradientErrors errors = ErrorsWithPlanted(
      Connect(), DefaultRun().probe,
      [](v1::EvaluateResponse& response) { Plant(*response.mutable_dbeta()); });
  EXPECT_FALSE(Passes(errors));
  EXPECT_NEAR(errors.dbeta.relative, 1e-6, 1e-8);
}

TEST_F(DemoTest, AGradientThatIsNotANumberFailsTheCheck) {
  auto connection = Connect();
  connection->alter_evaluate = [](v1::EvaluateResponse& response) {
    if (!response.has_dx()) return;
    response.mutable_dx()->mutable_data()->replace(0, 8, 8, '\xff');
  };
  const auto errors =
      CheckGradients(client::Client(connection), DefaultRun().probe);
  ASSERT_TRUE(errors.ok()) << errors.status();
  EXPECT_FALSE(Passes(*errors));
}

}  // namespace
}  // namespace batchnorm::cli
