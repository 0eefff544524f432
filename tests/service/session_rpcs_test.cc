// CreateSession, GetSession, ListSessions, UpdateSession, DeleteSession.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/service/refusal.h"
#include "tests/service/running_server.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::SessionConfig WithChannels(std::int64_t channels) {
  v1::SessionConfig config;
  config.set_channels(channels);
  return config;
}

v1::CreateSessionRequest CreateRequest(const std::string& name,
                                       const v1::SessionConfig& config) {
  v1::CreateSessionRequest request;
  request.set_name(name);
  *request.mutable_config() = config;
  return request;
}

class SessionRpcs : public ::testing::Test {
 protected:
  v1::ListSessionsResponse List(const v1::ListSessionsRequest& request) {
    v1::ListSessionsResponse response;
    const grpc::Status status =
        service_.stub().ListSessions(NewContext().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  RunningServer service_;
};

TEST_F(SessionRpcs, CreateFillsInEveryDefault) {
  const v1::Session session =
      service_.CreateSession("net/bn1", WithChannels(3));
  EXPECT_EQ(session.name(), "net/bn1");
  EXPECT_EQ(session.last_step(), 0U);
  const v1::SessionConfig& config = session.config();
  EXPECT_EQ(config.channels(), 3);
  EXPECT_EQ(config.world_size(), 1U);
  EXPECT_EQ(config.step_window(), 8U);
  EXPECT_EQ(config.gradient_reduction(), v1::GRADIENT_REDUCTION_LOCAL);
  EXPECT_EQ(config.kept_input_policy(), v1::KEPT_INPUT_POLICY_KEEP);
  EXPECT_EQ(config.non_finite_policy(), v1::NON_FINITE_POLICY_REJECT);
  const v1::Normalization& layer = config.normalization();
  EXPECT_THAT(layer.channel_axes(), ElementsAre(1));
  EXPECT_EQ(layer.eps(), 1e-5);
  EXPECT_EQ(layer.new_weight(), 0.1);
  EXPECT_EQ(layer.running_ddof(), 1U);
  EXPECT_EQ(layer.degenerate_policy(), v1::DEGENERATE_POLICY_REJECT);
}

TEST_F(SessionRpcs, CreateKeepsEveryFieldThatIsGiven) {
  v1::SessionConfig config = WithChannels(6);
  config.set_step_window(256);
  config.set_gradient_reduction(v1::GRADIENT_REDUCTION_MEAN);
  config.set_kept_input_policy(v1::KEPT_INPUT_POLICY_DISCARD);
  config.set_non_finite_policy(v1::NON_FINITE_POLICY_PROPAGATE);
  v1::Normalization& layer = *config.mutable_normalization();
  layer.add_channel_axes(-1);
  layer.add_channel_axes(0);
  layer.set_eps(0);
  layer.set_cumulative(true);
  layer.set_running_ddof(0);
  layer.set_degenerate_policy(v1::DEGENERATE_POLICY_UNIT_CORRECTION);
  const v1::Session session = service_.CreateSession("all", config);
  config.set_world_size(1);
  EXPECT_EQ(session.config().SerializeAsString(), config.SerializeAsString());
}

TEST_F(SessionRpcs, RunningStatisticsBeginWithMean0Var1AndNoBatches) {
  service_.CreateSession("s", WithChannels(2));
  const v1::RunningStatistics running =
      service_.GetSession("s").running_statistics();
  EXPECT_THAT(F64Values(running.mean()), ElementsAre(0, 0));
  EXPECT_THAT(F64Values(running.var()), ElementsAre(1, 1));
  EXPECT_THAT(ShapeOf(running.mean()), ElementsAre(2));
  EXPECT_EQ(running.batch_count(), 0);
}

TEST_F(SessionRpcs, CreateTimeIsNow) {
  const auto now = [] {
    return std::chrono::duration<double>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  const double before = now();
  const v1::Session session = service_.CreateSession("s", WithChannels(1));
  const double created = static_cast<double>(session.create_time().seconds()) +
                         1e-9 * session.create_time().nanos();
  EXPECT_GE(created, before - 1e-6);
  EXPECT_LE(created, now() + 1e-6);
}

TEST_F(SessionRpcs, CreateAgainReturnsTheSessionAsItIs) {
  const v1::Session first = service_.CreateSession("s", WithChannels(1));
  const v1::Session second = service_.CreateSession("s", WithChannels(1));
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
}

TEST_F(SessionRpcs, CreateAgainWithAnotherConfigurationIsAnError) {
  service_.CreateSession("s", WithChannels(1));
  EXPECT_EQ(
      RefusalOf(service_.StatusOf(CreateRequest("s", WithChannels(2)))).reason,
      "CONFIG_DIFFERS");
  EXPECT_EQ(service_.StatusOf(CreateRequest("s", WithChannels(2))).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(SessionRpcs, AnEmptyNameMakesADifferentOneEachTime) {
  const std::string one = service_.CreateSession("", WithChannels(1)).name();
  const std::string two = service_.CreateSession("", WithChannels(1)).name();
  EXPECT_NE(one, two);
  EXPECT_EQ(service_.GetSession(one).name(), one);
}

TEST_F(SessionRpcs, ListHasNoVectorsAndIsInTheOrderOfNames) {
  for (const char* name : {"b", "a/2", "a/1"}) {
    service_.CreateSession(name, WithChannels(1));
  }
  const v1::ListSessionsResponse page = List({});
  std::vector<std::string> names;
  for (const v1::Session& session : page.sessions()) {
    names.push_back(session.name());
    EXPECT_FALSE(session.has_running_statistics());
    EXPECT_EQ(session.config().channels(), 1);
  }
  EXPECT_THAT(names, ElementsAre("a/1", "a/2", "b"));
  EXPECT_THAT(page.next_page_token(), IsEmpty());
}

TEST_F(SessionRpcs, ListGivesPagesOfAPrefix) {
  for (int i = 0; i < 5; ++i) {
    service_.CreateSession("a/" + std::to_string(i), WithChannels(1));
  }
  service_.CreateSession("b", WithChannels(1));
  v1::ListSessionsRequest request;
  request.set_prefix("a/");
  request.set_page_size(2);
  std::vector<int> sizes;
  do {
    const v1::ListSessionsResponse page = List(request);
    sizes.push_back(page.sessions_size());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(sizes, ElementsAre(2, 2, 1));
}

TEST_F(SessionRpcs, UpdateToTheSameWorldSizeAtTheRightStepSucceeds) {
  service_.CreateSession("s", WithChannels(1));
  v1::UpdateSessionRequest request;
  request.set_name("s");
  v1::UpdateSessionResponse response;
  const grpc::Status status =
      service_.stub().UpdateSession(NewContext().get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.session().config().world_size(), 1U);
}

TEST_F(SessionRpcs, UpdateRefusesAnotherStepAndTooManyRanks) {
  service_.CreateSession("s", WithChannels(1));
  v1::UpdateSessionRequest request;
  request.set_name("s");
  request.set_expected_step(3);
  EXPECT_EQ(RefusalOf(service_.StatusOf(request)).reason, "STEP_MOVED");
  EXPECT_EQ(service_.StatusOf(request).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  request.set_expected_step(0);
  request.set_world_size(5000);
  EXPECT_EQ(RefusalOf(service_.StatusOf(request)).reason, "BAD_CONFIG");
  EXPECT_EQ(service_.StatusOf(request).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SessionRpcs, ADeletedSessionIsNotFoundByAnyCall) {
  service_.CreateSession("s", WithChannels(1));
  v1::DeleteSessionRequest request;
  request.set_name("s");
  EXPECT_TRUE(service_.StatusOf(request).ok());
  v1::GetSessionRequest get;
  get.set_name("s");
  v1::UpdateSessionRequest update;
  update.set_name("s");
  v1::ForwardRequest forward;
  forward.set_session("s");
  v1::BackwardRequest backward;
  backward.set_session("s");
  for (const grpc::Status& status :
       {service_.StatusOf(request), service_.StatusOf(get),
        service_.StatusOf(update), service_.StatusOf(forward),
        service_.StatusOf(backward)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(RefusalOf(status).reason, "SESSION_NOT_FOUND");
  }
}

TEST_F(SessionRpcs, NamesThatAreNotNamesAreRefused) {
  for (const std::string& name :
       {std::string("../etc"), std::string("a//b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("/a"), std::string(129, 'x')}) {
    const grpc::Status status =
        service_.StatusOf(CreateRequest(name, WithChannels(1)));
    EXPECT_THAT(status, Refused(grpc::StatusCode::INVALID_ARGUMENT, "BAD_NAME",
                                "name"));
    EXPECT_EQ(status.error_message().find('\n'), std::string::npos);
  }
}

TEST_F(SessionRpcs, TheErrorOfAHugeNameStillArrives) {
  v1::GetSessionRequest request;
  request.set_name(std::string(100'000, 'n'));
  const grpc::Status status = service_.StatusOf(request);
  EXPECT_NE(RefusalOf(status).reason, "");
  EXPECT_LT(status.error_message().size(), 1100U);
}

struct BadConfig {
  const char* what;
  const char* field;
  v1::SessionConfig config;
};

std::vector<BadConfig> BadConfigs() {
  const auto with = [](auto change) {
    v1::SessionConfig config = WithChannels(1);
    change(config);
    return config;
  };
  using Config = v1::SessionConfig;
  return {
      {"no channels", "config.channels", WithChannels(0)},
      {"negative channels", "config.channels", WithChannels(-4)},
      {"window", "config.step_window",
       with([](Config& c) { c.set_step_window(257); })},
      {"reduction", "config.gradient_reduction", with([](Config& c) {
         c.set_gradient_reduction(static_cast<v1::GradientReduction>(9));
       })},
      {"kept input", "config.kept_input_policy", with([](Config& c) {
         c.set_kept_input_policy(static_cast<v1::KeptInputPolicy>(9));
       })},
      {"non-finite", "config.non_finite_policy", with([](Config& c) {
         c.set_non_finite_policy(static_cast<v1::NonFinitePolicy>(9));
       })},
      {"eps", "config.normalization.eps",
       with([](Config& c) { c.mutable_normalization()->set_eps(-1); })},
      {"ddof", "config.normalization.running_ddof",
       with([](Config& c) { c.mutable_normalization()->set_running_ddof(2); })},
      {"cumulative: false", "config.normalization.cumulative",
       with([](Config& c) {
         c.mutable_normalization()->set_cumulative(false);
       })},
      {"degenerate", "config.normalization.degenerate_policy",
       with([](Config& c) {
         c.mutable_normalization()->set_degenerate_policy(
             static_cast<v1::DegeneratePolicy>(9));
       })},
  };
}

TEST_F(SessionRpcs, ABadConfigurationIsRefusedNamingItsField) {
  for (const BadConfig& bad : BadConfigs()) {
    SCOPED_TRACE(bad.what);
    EXPECT_THAT(
        service_.StatusOf(CreateRequest("s", bad.config)),
        Refused(grpc::StatusCode::INVALID_ARGUMENT, "BAD_CONFIG", bad.field));
  }
  EXPECT_EQ(List({}).sessions_size(), 0);
}

TEST_F(SessionRpcs, AMissingConfigurationIsRefused) {
  EXPECT_THAT(
      service_.StatusOf(v1::CreateSessionRequest()),
      Refused(grpc::StatusCode::INVALID_ARGUMENT, "BAD_CONFIG", "config"));
}

TEST_F(SessionRpcs, AnAxisNamedTwiceIsRefused) {
  v1::SessionConfig config = WithChannels(1);
  config.mutable_normalization()->add_channel_axes(1);
  config.mutable_normalization()->add_channel_axes(1);
  EXPECT_EQ(RefusalOf(service_.StatusOf(CreateRequest("s", config))).reason,
            "BAD_CHANNEL_AXES");
}

TEST_F(SessionRpcs, ASessionOfManyRanksIsAGroup) {
  v1::SessionConfig config = WithChannels(1);
  config.set_world_size(2);
  EXPECT_TRUE(service_.StatusOf(CreateRequest("s", config)).ok());
  config.set_world_size(4097);
  EXPECT_EQ(RefusalOf(service_.StatusOf(CreateRequest("t", config))).reason,
            "BAD_CONFIG");
}

TEST_F(SessionRpcs, ABadPageIsRefused) {
  v1::ListSessionsRequest negative;
  negative.set_page_size(-1);
  EXPECT_THAT(
      service_.StatusOf(negative),
      Refused(grpc::StatusCode::INVALID_ARGUMENT, "BAD_PAGE", "page_size"));
  v1::ListSessionsRequest token;
  token.set_page_token("not a token");
  EXPECT_THAT(
      service_.StatusOf(token),
      Refused(grpc::StatusCode::INVALID_ARGUMENT, "BAD_PAGE", "page_token"));
}

TEST(SessionLimits, OneSessionTooManyIsRefusedUntilAnotherIsDeleted) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_sessions = 2;
  const RunningServer service(options);
  service.CreateSession("a", WithChannels(1));
  service.CreateSession("b", WithChannels(1));
  const grpc::Status refused =
      service.StatusOf(CreateRequest("c", WithChannels(1)));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RefusalOf(refused).reason, "TOO_MANY_SESSIONS");
  v1::DeleteSessionRequest request;
  request.set_name("a");
  EXPECT_TRUE(service.StatusOf(request).ok());
  EXPECT_TRUE(service.StatusOf(CreateRequest("c", WithChannels(1))).ok());
}

TEST(SessionLimits, ASessionIsForgottenWhenItIsIdle) {
  rpc::ServerOptions options = LoopbackOptions();
  options.idle_ttl = absl::Milliseconds(40);
  const RunningServer service(options);
  service.CreateSession("idle", WithChannels(1));
  v1::ListSessionsResponse page;
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::seconds(20);
  do {
    EXPECT_TRUE(
        service.stub().ListSessions(NewContext().get(), {}, &page).ok());
  } while (page.sessions_size() > 0 &&
           std::chrono::steady_clock::now() < give_up);
  EXPECT_EQ(page.sessions_size(), 0);
}

}  // namespace
}  // namespace batchnorm::service_test
