// The client against the real server, in process: results compared with the
// formulas in long double, and what a training program sees when a server
// forgets, evicts, or comes back empty.
#include "server/rpc/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::Pointwise;
using ::testing::SizeIs;

MATCHER_P(IsNear, tolerance, "") {
  return std::fabs(static_cast<double>(std::get<0>(arg)) -
                   static_cast<double>(std::get<1>(arg))) <= tolerance;
}

std::vector<double> Normal(std::size_t size, double mean, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(mean, 1);
  std::vector<double> values(size);
  for (double& value : values) value = normal(random);
  return values;
}

// One channel, from the definitions.
struct Truth {
  Truth(const std::vector<double>& x, const std::vector<double>& dy,
        double gamma, double beta) {
    const auto n = static_cast<long double>(x.size());
    long double mean = 0;
    for (const double value : x) mean += value / n;
    long double var = 0;
    for (const double value : x) var += (value - mean) * (value - mean) / n;
    const long double inv_std = 1 / std::sqrt(var + 1e-5L);
    for (std::size_t i = 0; i < x.size(); ++i) {
      dbeta += dy[i];
      dgamma += dy[i] * (x[i] - mean) * inv_std;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const long double x_hat = (x[i] - mean) * inv_std;
      y.push_back(static_cast<double>(gamma * x_hat + beta));
      dx.push_back(static_cast<double>(
          gamma * inv_std * (dy[i] - dbeta / n - x_hat * dgamma / n)));
    }
  }

  std::vector<double> y;
  std::vector<double> dx;
  long double dgamma = 0;
  long double dbeta = 0;
};

// A server on a free port, and clients of it. A pause between attempts runs
// `on_pause` instead of sleeping.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest() { Start(); }

  void Start() {
    auto server = rpc::Server::Start(server_options_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    // The same port again, should there be a next server.
    server_options_.listen = server_->addresses();
  }

  void Stop() { server_.reset(); }

  void Restart() {
    Stop();
    Start();
  }

  Client NewClient() {
    ConnectionOptions options;
    options.target = server_options_.listen[0];
    options.environment.sleep = [this](absl::Duration pause) {
      on_pause_();
      absl::SleepFor(std::min(pause, absl::Milliseconds(50)));
    };
    return Client(options);
  }

  absl::StatusOr<Layer> OpenLayer(const SessionConfig& config = {
                                      .channels = 1}) {
    return NewClient().OpenLayer("enc/bn1", config);
  }

  static LayerInput Batch(unsigned seed) {
    return {.x = MakeTensor(Normal(8, 3, seed), {8, 1}),
            .gamma = MakeTensor(std::vector<double>{2}, {1})};
  }

  static LayerGradient Gradient(std::uint64_t step) {
    return {.step = step, .dy = MakeTensor(Normal(8, 0, 99), {8, 1})};
  }

  rpc::ServerOptions server_options_{
      .listen = {"localhost:0"}, .threads = 2, .reflection = false};
  std::unique_ptr<rpc::Server> server_;
  std::function<void()> on_pause_ = [] {};
};

TEST_F(ServerTest, ForwardAndBackwardAreTheDefinitions) {
  const std::vector<double> x = Normal(50, 1000, 1);
  const std::vector<double> dy = Normal(50, 2, 2);
  const Truth truth(x, dy, 1.5, -0.5);
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  const auto forward =
      layer->Forward({.x = MakeTensor(x, {50, 1}),
                      .gamma = MakeTensor(std::vector<double>{1.5}, {1}),
                      .beta = MakeTensor(std::vector<double>{-0.5}, {1})});
  ASSERT_THAT(forward, IsOk());
  EXPECT_THAT(ToDoubles(forward->y), Pointwise(IsNear(1e-12), truth.y));
  EXPECT_EQ(forward->statistics->count, 50);
  const auto gradients =
      layer->Backward({.step = forward->step, .dy = MakeTensor(dy, {50, 1})});
  ASSERT_THAT(gradients, IsOk());
  EXPECT_THAT(ToDoubles(gradients->dx), Pointwise(IsNear(1e-12), truth.dx));
  EXPECT_NEAR(gradients->dgamma[0], static_cast<double>(truth.dgamma), 1e-12);
  EXPECT_NEAR(gradients->dbeta[0], static_cast<double>(truth.dbeta), 1e-12);
}

TEST_F(ServerTest, EvaluateGivesTheSameWithoutASession) {
  const std::vector<double> x = Normal(50, 1000, 1);
  const std::vector<double> dy = Normal(50, 2, 2);
  const Truth truth(x, dy, 1, 0);
  const auto result = NewClient().Evaluate(
      {.x = MakeTensor(x, {50, 1}), .dy = MakeTensor(dy, {50, 1})});
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(ToDoubles(*result->y), Pointwise(IsNear(1e-12), truth.y));
  EXPECT_THAT(ToDoubles(*result->dx), Pointwise(IsNear(1e-12), truth.dx));
}

TEST_F(ServerTest, InferenceUsesTheRunningStatistics) {
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  const std::vector<double> x = {-1, 0, 4};
  const auto before = layer->Infer({.x = MakeTensor(x, {3, 1})});
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->statistics_step, 0U);
  const double scale = 1 / std::sqrt(1 + 1e-5);  // mean 0, var 1
  EXPECT_THAT(
      ToDoubles(before->y),
      Pointwise(IsNear(1e-15), std::vector<double>{-scale, 0, 4 * scale}));
  EXPECT_THAT(layer->Forward(Batch(1)), IsOk());
  EXPECT_EQ(layer->Infer({.x = MakeTensor(x, {3, 1})})->statistics_step, 1U);
}

TEST_F(ServerTest, TensorsAboveFourMebibytesPass) {
  constexpr std::int64_t kRows = 1 << 20;
  auto layer = OpenLayer({.channels = 3});
  ASSERT_THAT(layer, IsOk());
  const Tensor x = MakeTensor(std::vector<float>(kRows * 3, 2.5F), {kRows, 3});
  const auto forward = layer->Forward({.x = x});
  ASSERT_THAT(forward, IsOk());
  EXPECT_EQ(forward->y.data.size(), x.data.size());
  EXPECT_THAT(forward->statistics->mean, ElementsAre(2.5, 2.5, 2.5));
  const auto gradients = layer->Backward({.step = 1, .dy = x});
  ASSERT_THAT(gradients, IsOk());
  EXPECT_THAT(gradients->dbeta,
              ElementsAre(2.5 * kRows, 2.5 * kRows, 2.5 * kRows));
}

TEST_F(ServerTest, UnixSocketsServeToo) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("bn_server_test_" + std::to_string(::getpid()));
  server_options_.listen = {"unix:" + path.string()};
  Restart();
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  EXPECT_EQ(layer->Forward(Batch(1))->step, 1U);
}

TEST_F(ServerTest, AReplayGivesTheSameBytesAndIsVisible) {
  const Client client = NewClient();
  ASSERT_THAT(client.CreateSession("a", {.channels = 1}), IsOk());
  const ForwardArgs args{.session = "a", .step = 1, .x = Batch(1).x};
  const auto first = client.Forward(args);
  const auto second = client.Forward(args);
  ASSERT_THAT(second, IsOk());
  EXPECT_FALSE(first->replayed);
  EXPECT_TRUE(second->replayed);
  EXPECT_EQ(first->y.data, second->y.data);
  EXPECT_EQ(client.GetSession("a")->counters.replay_count, 1);
}

TEST_F(ServerTest, TwoLayersThatTrainOneSessionAreTold) {
  auto one = OpenLayer();
  auto other = OpenLayer();
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(one->Forward(Batch(1)), IsOk());
  EXPECT_THAT(
      other->Forward(Batch(2)),
      HasCodeAndReason(absl::StatusCode::kInvalidArgument, "STEP_REUSED"));
  EXPECT_THAT(other->Resume(), IsOk());
  EXPECT_EQ(other->Forward(Batch(2))->step, 2U);
}

TEST_F(ServerTest, AnEvictedInputIsSentAgainUnnoticed) {
  server_options_.kept_input_bytes = 12'000;  // one batch of 8,192, not two
  Restart();
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  const auto batch = [](unsigned seed) {
    return LayerInput{.x = MakeTensor(Normal(1024, 3, seed), {1024, 1}),
                      .gamma = MakeTensor(std::vector<double>{2}, {1})};
  };
  const Tensor dy = MakeTensor(Normal(1024, 0, 99), {1024, 1});
  EXPECT_THAT(layer->Forward(batch(1)), IsOk());
  const auto kept = layer->Backward({.step = 1, .dy = dy, .keep_open = true});
  ASSERT_THAT(kept, IsOk());
  EXPECT_THAT(layer->Forward(batch(2)), IsOk());
  EXPECT_EQ(layer->GetSession()->counters.evicted_input_count, 1);
  const auto resent = layer->Backward({.step = 1, .dy = dy});
  ASSERT_THAT(resent, IsOk());
  EXPECT_EQ(resent->dx.data, kept->dx.data);
  EXPECT_EQ(resent->dgamma, kept->dgamma);
}

TEST_F(ServerTest, ASessionThatKeepsNothingTrainsAllTheSame) {
  auto layer = OpenLayer(
      {.channels = 1, .kept_input_policy = KeptInputPolicy::kDiscard});
  ASSERT_THAT(layer, IsOk());
  EXPECT_THAT(layer->Forward(Batch(1)), IsOk());
  EXPECT_EQ(layer->GetSession()->kept_input_bytes, 0);
  EXPECT_THAT(layer->Backward(Gradient(1)), IsOk());
}

TEST_F(ServerTest, ATrainingProgramThatIsRestartedContinues) {
  {
    auto layer = OpenLayer();
    ASSERT_THAT(layer, IsOk());
    for (unsigned seed = 1; seed <= 3; ++seed) {
      EXPECT_THAT(layer->Forward(Batch(seed)), IsOk());
    }
  }
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  EXPECT_EQ(layer->last_step(), 3U);
  EXPECT_EQ(layer->Forward(Batch(4))->step, 4U);
  EXPECT_EQ(layer->GetSession()->running_statistics->batch_count, 4);
}

// Sessions are in memory: what a restart loses is an error, never a new start.
TEST_F(ServerTest, AServerThatWasRestartedHasForgottenTheSessionAndSaysSo) {
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  EXPECT_THAT(layer->Forward(Batch(1)), IsOk());
  Restart();
  EXPECT_THAT(
      layer->Forward(Batch(2)),
      HasCodeAndReason(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND"));
  EXPECT_THAT(
      layer->Backward(Gradient(1)),
      HasCodeAndReason(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND"));
}

TEST_F(ServerTest, ASessionMadeAnewBehindALayersBackIsDataLoss) {
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  EXPECT_THAT(layer->Forward(Batch(1)), IsOk());
  Restart();
  ASSERT_THAT(NewClient().CreateSession("enc/bn1", {.channels = 1}), IsOk());
  EXPECT_THAT(layer->Forward(Batch(2)),
              HasCodeAndReason(absl::StatusCode::kDataLoss, "STEPS_LOST"));
  EXPECT_THAT(layer->Backward(Gradient(1)),
              HasCodeAndReason(absl::StatusCode::kDataLoss, "STEPS_LOST"));
  EXPECT_THAT(layer->Resume(), HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(ServerTest, ACallOutlivesAServerThatIsAwayForAMoment) {
  const Client client = NewClient();
  ASSERT_THAT(client.CheckHealth(), IsOk());
  Stop();
  int pauses = 0;
  on_pause_ = [&] {
    if (++pauses == 2) Start();
  };
  EXPECT_THAT(client.Evaluate({.x = Batch(1).x}), IsOk());
  EXPECT_GE(pauses, 2);
}

TEST_F(ServerTest, HealthIsServing) {
  EXPECT_EQ(*NewClient().CheckHealth(), Health::kServing);
  EXPECT_EQ(*NewClient().CheckHealth(kServiceName), Health::kServing);
  EXPECT_EQ(*NewClient().CheckHealth("other"), Health::kServiceUnknown);
}

TEST_F(ServerTest, SessionsAreListedShownAndDeleted) {
  const Client client = NewClient();
  for (const char* name : {"b/1", "a", "b/2"}) {
    ASSERT_THAT(client.CreateSession(name, {.channels = 2}), IsOk());
  }
  const auto all = client.ListAllSessions();
  ASSERT_THAT(all, IsOk());
  ASSERT_THAT(*all, SizeIs(3));
  EXPECT_EQ((*all)[0].name, "a");
  EXPECT_FALSE((*all)[0].running_statistics.has_value());
  EXPECT_THAT(*client.ListAllSessions("b/"), SizeIs(2));
  const auto page = client.ListSessions({.page_size = 2});
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(page->sessions, SizeIs(2));
  EXPECT_THAT(
      client.ListSessions({.page_token = page->next_page_token})->sessions,
      SizeIs(1));
  const auto shown = client.GetSession("a");
  ASSERT_THAT(shown, IsOk());
  EXPECT_EQ(shown->config, SessionConfig{.channels = 2});
  EXPECT_THAT(shown->running_statistics->var, ElementsAre(1, 1));
  EXPECT_THAT(client.DeleteSession("a"), IsOk());
  EXPECT_THAT(
      client.DeleteSession("a"),
      HasCodeAndReason(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND"));
}

TEST_F(ServerTest, AServerMadeNameIsTheLayersName) {
  auto layer = NewClient().OpenLayer("", {.channels = 1});
  ASSERT_THAT(layer, IsOk());
  EXPECT_THAT(layer->name(), ::testing::Not(::testing::IsEmpty()));
  EXPECT_THAT(NewClient().GetSession(layer->name()), IsOk());
}

TEST_F(ServerTest, AnotherConfigurationUnderTheSameNameIsRefused) {
  ASSERT_THAT(OpenLayer(), IsOk());
  EXPECT_THAT(
      OpenLayer({.channels = 2}),
      HasCodeAndReason(absl::StatusCode::kAlreadyExists, "CONFIG_DIFFERS"));
}

TEST_F(ServerTest, UpdateChecksTheStep) {
  const Client client = NewClient();
  ASSERT_THAT(client.CreateSession("a", {.channels = 1}), IsOk());
  EXPECT_THAT(
      client.UpdateSession({.name = "a", .expected_step = 1}),
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "STEP_MOVED"));
  EXPECT_THAT(client.UpdateSession({.name = "a", .expected_step = 0}), IsOk());
}

TEST_F(ServerTest, ABadBatchNamesItsFieldAndChangesNothing) {
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  LayerInput input = Batch(1);
  input.x = MakeTensor(std::vector<double>{1, std::nan("")}, {2, 1});
  const auto forward = layer->Forward(std::move(input));
  EXPECT_THAT(forward, HasCodeAndReason(absl::StatusCode::kInvalidArgument,
                                        "NON_FINITE_INPUT"));
  EXPECT_EQ(Field(forward.status()), "x");
  EXPECT_EQ(layer->Forward(Batch(1))->step, 1U);
}

TEST_F(ServerTest, StepsOfManyThreadsAreTakenOnceEach) {
  auto layer = OpenLayer();
  ASSERT_THAT(layer, IsOk());
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&layer, i] {
      for (unsigned k = 0; k < 10; ++k) {
        const auto forward = layer->Forward(Batch(100 * i + k));
        ASSERT_THAT(forward, IsOk());
        EXPECT_THAT(layer->Backward(Gradient(forward->step)), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto session = layer->GetSession();
  EXPECT_EQ(session->last_step, 40U);
  EXPECT_EQ(session->counters.forward_count, 40);
  EXPECT_EQ(session->counters.backward_count, 40);
  EXPECT_EQ(layer->open_steps(), 0U);
}

}  // namespace
}  // namespace batchnorm::client
