#include "server/session/registry.h"

#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {
namespace {

using ::testing::ElementsAre;
using Code = absl::StatusCode;

class RegistryTest : public ::testing::Test {
 protected:
  RegistryOptions Options() {
    RegistryOptions options;
    options.max_sessions = 5;
    options.idle_ttl = absl::Hours(1);
    options.clock = [this] { return now_; };
    return options;
  }

  static std::vector<std::string> NamesOf(const SessionPage& page) {
    std::vector<std::string> names;
    names.reserve(page.sessions.size());
    for (const Snapshot& session : page.sessions) names.push_back(session.name);
    return names;
  }

  void CreateAll(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      ASSERT_THAT(registry_.Create(name, Config(2)), IsOk());
    }
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  Registry registry_{Options()};
  const Tensor x_ = F64({2, 2}, {1, 2, 3, 5});
};

TEST_F(RegistryTest, CreateReturnsTheNewSession) {
  SessionConfig config = Config(2);
  config.step_window = 3;
  const auto session = registry_.Create("net/bn1", config);
  ASSERT_THAT(session, IsOk());
  EXPECT_EQ(session->name, "net/bn1");
  EXPECT_EQ(session->config, config);
  EXPECT_EQ(session->last_step, 0u);
  EXPECT_EQ(session->create_time, now_);
  EXPECT_THAT(session->running->var, ElementsAre(1, 1));
  EXPECT_EQ(registry_.session_count(), 1);
}

TEST_F(RegistryTest, CreateAgainReturnsTheExistingSessionAsItIs) {
  CreateAll({"bn"});
  ASSERT_THAT(Forward(**registry_.Find("bn"), Train(1, x_)), IsOk());
  now_ += absl::Minutes(1);
  const auto again = registry_.Create("bn", Config(2));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->last_step, 1u);
  EXPECT_EQ(again->create_time, now_ - absl::Minutes(1));
  EXPECT_EQ(registry_.session_count(), 1);
}

TEST_F(RegistryTest, CreateWithAnotherConfigurationNamesTheFirstDifference) {
  CreateAll({"bn"});
  SessionConfig other = Config(2);
  other.normalization.eps = 0.001;
  other.step_window = 9;
  const auto result = registry_.Create("bn", other);
  EXPECT_THAT(result, StatusIs(Code::kAlreadyExists));
  EXPECT_THAT(result, HasReason("CONFIG_DIFFERS"));
  EXPECT_THAT(result, HasField("config.normalization.eps"));
  EXPECT_THAT(result, HasText("expected 1e-05, as the session \"bn\" has, got "
                              "0.001"));
}

TEST_F(RegistryTest, ChannelAxesAreASetWhateverTheirOrder) {
  SessionConfig config = Config(2);
  config.normalization.channel_axes = {2, 1};
  ASSERT_THAT(registry_.Create("bn", config), IsOk());
  config.normalization.channel_axes = {1, 2};
  EXPECT_THAT(registry_.Create("bn", config), IsOk());
}

TEST_F(RegistryTest, AnEmptyNameGetsOneThatCannotBeGuessed) {
  const auto first = registry_.Create("", Config(2));
  const auto second = registry_.Create("", Config(2));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->name.size(), 32u);
  EXPECT_NE(first->name, second->name);
  EXPECT_THAT(registry_.Get(first->name), IsOk());
}

TEST_F(RegistryTest, BadNamesAndConfigurationsCreateNothing) {
  EXPECT_THAT(registry_.Create("../a", Config(2)), HasReason("BAD_NAME"));
  EXPECT_THAT(registry_.Create("a", Config(0)), HasReason("BAD_CONFIG"));
  SessionConfig group = Config(2);
  group.world_size = 4097;
  EXPECT_THAT(registry_.Create("a", group), HasReason("BAD_CONFIG"));
  EXPECT_EQ(registry_.session_count(), 0);
}

TEST_F(RegistryTest, OneSessionTooManyIsRefusedUntilOneIsDeleted) {
  CreateAll({"a", "b", "c", "d", "e"});
  const auto result = registry_.Create("f", Config(2));
  EXPECT_THAT(result, StatusIs(Code::kResourceExhausted));
  EXPECT_THAT(result, HasReason("TOO_MANY_SESSIONS"));
  EXPECT_THAT(result, HasText("at most 5 sessions"));
  EXPECT_THAT(registry_.Create("a", Config(2)), IsOk());
  ASSERT_THAT(registry_.Delete("c"), IsOk());
  EXPECT_THAT(registry_.Create("f", Config(2)), IsOk());
}

TEST_F(RegistryTest, UnknownNamesAreNotFoundEverywhere) {
  for (const std::string name : {"", "none", "../etc", "a\nb"}) {
    for (const absl::Status& status :
         {registry_.Get(name).status(), registry_.Find(name).status(),
          registry_.Update(name, 1, 0).status(), registry_.Delete(name)}) {
      EXPECT_THAT(status, StatusIs(Code::kNotFound));
      EXPECT_THAT(status, HasReason("SESSION_NOT_FOUND"));
    }
  }
}

TEST_F(RegistryTest, DeleteForgetsReleasesAndEndsCallsInFlight) {
  CreateAll({"bn"});
  const auto session = registry_.Find("bn");
  const Tensor x = F64({2, 2}, {1, 2, 3, 5});
  ASSERT_THAT(Forward(**session, Train(1, x)), IsOk());
  ASSERT_EQ(x.data.use_count(), 2);
  ASSERT_THAT(registry_.Delete("bn"), IsOk());
  EXPECT_EQ(x.data.use_count(), 1);
  EXPECT_EQ(registry_.session_count(), 0);
  EXPECT_THAT(registry_.Get("bn"), StatusIs(Code::kNotFound));
  EXPECT_THAT(Forward(**session, Train(2, x)), StatusIs(Code::kNotFound));
  EXPECT_THAT(registry_.Delete("bn"), StatusIs(Code::kNotFound));
}

TEST_F(RegistryTest, ADeletedNameBeginsAnew) {
  CreateAll({"bn"});
  ASSERT_THAT(Forward(**registry_.Find("bn"), Train(1, x_)), IsOk());
  ASSERT_THAT(registry_.Delete("bn"), IsOk());
  const auto again = registry_.Create("bn", Config(3));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->last_step, 0u);
  EXPECT_EQ(again->config.channels, 3);
}

TEST_F(RegistryTest, UpdateNeedsTheExpectedStep) {
  CreateAll({"bn"});
  ASSERT_THAT(Forward(**registry_.Find("bn"), Train(1, x_)), IsOk());
  EXPECT_THAT(registry_.Update("bn", 1, 1), IsOk());
  const auto moved = registry_.Update("bn", 1, 7);
  EXPECT_THAT(moved, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(moved, HasReason("STEP_MOVED"));
  EXPECT_THAT(moved, HasMetadata("last_step", "1"));
  EXPECT_THAT(registry_.Update("bn", 5000, 1), HasReason("BAD_CONFIG"));
  EXPECT_EQ(registry_.Get("bn")->config.world_size, 1u);
  const auto group = registry_.Update("bn", 4, 1);
  ASSERT_THAT(group, IsOk());
  EXPECT_EQ(group->config.world_size, 4u);
}

TEST_F(RegistryTest, ListIsInNameOrderWithoutVectors) {
  CreateAll({"b", "a/2", "a", "a/10", "c"});
  const auto page = registry_.List(0, "", "");
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(NamesOf(*page), ElementsAre("a", "a/10", "a/2", "b", "c"));
  EXPECT_EQ(page->next_page_token, "");
  for (const Snapshot& session : page->sessions) {
    EXPECT_FALSE(session.running.has_value());
    EXPECT_EQ(session.config.channels, 2);
  }
}

TEST_F(RegistryTest, APrefixSelects) {
  CreateAll({"b", "a/2", "a", "a/10", "ab"});
  EXPECT_THAT(NamesOf(*registry_.List(0, "", "a/")),
              ElementsAre("a/10", "a/2"));
  EXPECT_THAT(NamesOf(*registry_.List(0, "", "x")), ElementsAre());
}

TEST_F(RegistryTest, PagesFollowEachOtherAlsoWhenTheirLastSessionIsGone) {
  CreateAll({"a", "b", "c", "d", "e"});
  const auto first = registry_.List(2, "", "");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(NamesOf(*first), ElementsAre("a", "b"));
  ASSERT_THAT(registry_.Delete("b"), IsOk());
  const auto second = registry_.List(2, first->next_page_token, "");
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(NamesOf(*second), ElementsAre("c", "d"));
  const auto third = registry_.List(2, second->next_page_token, "");
  ASSERT_THAT(third, IsOk());
  EXPECT_THAT(NamesOf(*third), ElementsAre("e"));
  EXPECT_EQ(third->next_page_token, "");
}

TEST_F(RegistryTest, AFullLastPageNamesNoNextOne) {
  CreateAll({"a", "b"});
  EXPECT_EQ(registry_.List(2, "", "")->next_page_token, "");
}

// Without a store the rows are only of what is not loaded.
TEST_F(RegistryTest, WhatLeavesMemoryComesBackWithAllItsSteps) {
  RegistryOptions options = Options();
  options.max_sessions = 200;
  options.loaded_bytes = 20'000;  // some eight of these
  Registry registry(options);
  const auto step = [&](int i, std::uint64_t number) {
    const auto session = registry.Find(std::to_string(i));
    EXPECT_THAT(session, IsOk());
    absl::StatusOr<ForwardResult> result = absl::UnknownError("");
    const double v = i + static_cast<double>(number);
    (*session)->Forward(Train(number, F64({2, 2}, {v, 2, 3, 5})),
                        [&](auto done) { result = std::move(done); });
    return result;
  };
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(registry.Create(std::to_string(i), Config(2)), IsOk());
    for (const std::uint64_t number : {1, 2, 3}) {
      ASSERT_THAT(step(i, number), IsOk());
    }
  }
  EXPECT_LT(registry.loaded_count(), 10);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(registry.Get(std::to_string(i))->last_step, 3u);
    EXPECT_TRUE(step(i, 3)->replayed);
    EXPECT_THAT(step(i, 4), IsOk());
  }
  const auto page = registry.List(1000, "", "");
  ASSERT_EQ(page->sessions.size(), 100u);
  for (const Snapshot& session : page->sessions) {
    EXPECT_EQ(session.last_step, 4u);
  }
}

TEST_F(RegistryTest, BadPagesAreRefused) {
  CreateAll({"a", "b"});
  const std::string token = registry_.List(1, "", "")->next_page_token;
  ASSERT_NE(token, "");
  const auto negative = registry_.List(-1, "", "");
  EXPECT_THAT(negative, StatusIs(Code::kInvalidArgument));
  EXPECT_THAT(negative, HasReason("BAD_PAGE"));
  EXPECT_THAT(negative, HasField("page_size"));
  for (const auto& result :
       {registry_.List(1, "no token!", ""), registry_.List(1, "Li4v", ""),
        registry_.List(1, token, "b")}) {
    EXPECT_THAT(result, StatusIs(Code::kInvalidArgument));
    EXPECT_THAT(result, HasReason("BAD_PAGE"));
    EXPECT_THAT(result, HasField("page_token"));
  }
}

TEST(RegistryPagesTest, AHundredByDefaultAThousandAtMost) {
  Registry registry(RegistryOptions{});
  for (int i = 0; i < 1001; ++i) {
    ASSERT_THAT(registry.Create(std::to_string(i), Config(1)), IsOk());
  }
  EXPECT_EQ(registry.List(0, "", "")->sessions.size(), 100u);
  EXPECT_EQ(registry.List(5000, "", "")->sessions.size(), 1000u);
  EXPECT_NE(registry.List(5000, "", "")->next_page_token, "");
}

TEST_F(RegistryTest, IdleSessionsExpireUsedOnesDoNot) {
  CreateAll({"idle", "used", "created", "updated"});
  now_ += absl::Minutes(50);
  ASSERT_THAT(registry_.Find("used"), IsOk());
  ASSERT_THAT(registry_.Create("created", Config(2)), IsOk());
  ASSERT_THAT(registry_.Update("updated", 1, 0), IsOk());
  // To look is not to use.
  ASSERT_THAT(registry_.Get("idle"), IsOk());
  ASSERT_THAT(registry_.List(0, "", ""), IsOk());
  now_ += absl::Minutes(10);
  EXPECT_EQ(registry_.ExpireIdle(), 0);
  now_ += absl::Seconds(1);
  EXPECT_EQ(registry_.ExpireIdle(), 1);
  EXPECT_THAT(registry_.Get("idle"), StatusIs(Code::kNotFound));
  EXPECT_EQ(registry_.session_count(), 3);
}

TEST_F(RegistryTest, AnExpiredSessionMakesRoomAndReleasesItsBytes) {
  CreateAll({"a", "b", "c", "d", "e"});
  const Tensor x = F64({2, 2}, {1, 2, 3, 5});
  ASSERT_THAT(Forward(**registry_.Find("a"), Train(1, x)), IsOk());
  now_ += absl::Hours(2);
  EXPECT_EQ(registry_.ExpireIdle(), 5);
  EXPECT_EQ(x.data.use_count(), 1);
  EXPECT_THAT(registry_.Create("f", Config(2)), IsOk());
}

TEST_F(RegistryTest, AnExpiredSessionEndsCallsInFlight) {
  CreateAll({"bn"});
  const auto session = registry_.Find("bn");
  now_ += absl::Hours(2);
  EXPECT_EQ(registry_.ExpireIdle(), 1);
  EXPECT_THAT(Forward(**session, Train(1, x_)), StatusIs(Code::kNotFound));
}

TEST_F(RegistryTest, TheQuotaIsOneForAllSessions) {
  RegistryOptions options = Options();
  options.kept_input_bytes = 1000;
  Registry registry(options);
  const Tensor x = F64({50, 1}, Normals(50, 1));  // 400 bytes and the sums
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(registry.Create(name, Config(1)), IsOk());
    ASSERT_THAT(Forward(**registry.Find(name), Train(1, x)), IsOk());
  }
  EXPECT_EQ(registry.Get("a")->kept_input_bytes, 0);
  EXPECT_EQ(registry.Get("a")->counters.evicted_input_count, 1);
  EXPECT_EQ(registry.Get("c")->kept_input_bytes, 400);
}

TEST_F(RegistryTest, ConcurrentCreatesOfOneNameGiveOneSession) {
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int k = 0; k < 5; ++k) {
        const std::string name = std::to_string(k);
        EXPECT_THAT(registry_.Create(name, Config(2)), IsOk());
        EXPECT_THAT(Forward(**registry_.Find(name), Train(0, x_)), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry_.session_count(), 5);
  const auto page = registry_.List(0, "", "");
  for (const Snapshot& session : page->sessions) {
    EXPECT_EQ(session.last_step, 4u);
  }
}

TEST_F(RegistryTest, OfConcurrentCreatesThatDifferOneWins) {
  // Large sessions, so that they are made at the same time.
  constexpr std::int64_t kManyChannels = 1 << 17;
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> created = 0;
    std::barrier start(2);
    const auto create = [&](std::int64_t channels) {
      start.arrive_and_wait();
      const auto result = registry_.Create("bn", Config(channels));
      if (result.ok()) {
        ++created;
      } else {
        EXPECT_THAT(result, HasReason("CONFIG_DIFFERS"));
      }
    };
    std::thread other(create, kManyChannels + 1);
    create(kManyChannels);
    other.join();
    EXPECT_EQ(created, 1);
    ASSERT_THAT(registry_.Delete("bn"), IsOk());
  }
}

TEST(SteadyNowTest, IsTheTimeOfDayAndNeverGoesBack) {
  absl::Time last = SteadyNow();
  EXPECT_LT(absl::AbsDuration(absl::Now() - last), absl::Minutes(1));
  for (int i = 0; i < 1000; ++i) {
    const absl::Time now = SteadyNow();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST_F(RegistryTest, TenantsHaveNamesOfTheirOwn) {
  Registry a = registry_.Of("a");
  Registry b = registry_.Of("b");
  CreateAll({"bn"});
  ASSERT_THAT(a.Create("bn", Config(2)), IsOk());
  ASSERT_THAT(b.Create("bn", Config(3)), IsOk());
  ASSERT_THAT(Forward(**a.Find("bn"), Train(1, x_)), IsOk());
  EXPECT_EQ(a.Get("bn")->last_step, 1U);
  EXPECT_EQ(registry_.Get("bn")->last_step, 0U);
  EXPECT_EQ(b.Get("bn")->config.channels, 3);
  EXPECT_EQ(registry_.session_count(), 3);
  EXPECT_THAT(a.Delete("bn"), IsOk());
  EXPECT_THAT(registry_.Get("bn"), IsOk());
  EXPECT_THAT(b.Get("bn"), IsOk());
}

TEST_F(RegistryTest, ATenantSeesNoOtherTenantsSessions) {
  Registry a = registry_.Of("a");
  Registry ab = registry_.Of("ab");
  CreateAll({"mine", "zz"});
  ASSERT_THAT(a.Create("one", Config(2)), IsOk());
  ASSERT_THAT(ab.Create("two", Config(2)), IsOk());
  EXPECT_THAT(NamesOf(*registry_.List(10, "", "")), ElementsAre("mine", "zz"));
  EXPECT_THAT(NamesOf(*a.List(10, "", "")), ElementsAre("one"));
  EXPECT_THAT(NamesOf(*ab.List(10, "", "")), ElementsAre("two"));
  const absl::Status nobody = registry_.Get("never").status();
  for (const char* const name : {"one", "~a/one", "a/one"}) {
    EXPECT_EQ(registry_.Get(name).status().code(), Code::kNotFound) << name;
    EXPECT_EQ(ab.Get(name).status().code(), Code::kNotFound) << name;
    EXPECT_EQ(registry_.Find(name).status().code(), Code::kNotFound) << name;
    EXPECT_EQ(registry_.Delete(name).code(), Code::kNotFound) << name;
  }
  EXPECT_THAT(NamesOf(*registry_.List(10, "", "~a/")), ElementsAre());
}

TEST_F(RegistryTest, APageBeginsAfterTheOneBeforeForEachTenant) {
  Registry a = registry_.Of("a");
  for (const char* const name : {"x", "y"}) {
    ASSERT_THAT(a.Create(name, Config(2)), IsOk());
    CreateAll({name});
  }
  for (Registry* const tenant : {&registry_, &a}) {
    const auto first = tenant->List(1, "", "");
    EXPECT_THAT(NamesOf(*first), ElementsAre("x"));
    const auto second = tenant->List(1, first->next_page_token, "");
    EXPECT_THAT(NamesOf(*second), ElementsAre("y"));
    EXPECT_EQ(second->next_page_token, "");
  }
}

TEST_F(RegistryTest, ErrorsTellATenantsCallerOnlyTheSessionsName) {
  Registry a = registry_.Of("secret-tenant");
  ASSERT_THAT(a.Create("bn", Config(2)), IsOk());
  const auto session = a.Find("bn");
  ASSERT_THAT(session, IsOk());
  std::vector<absl::Status> told = {a.Create("bn", Config(3)).status(),
                                    a.Get("other").status()};
  ASSERT_THAT(a.Delete("bn"), IsOk());
  told.push_back(Forward(**session, Train(1, x_)).status());
  for (const absl::Status& status : told) {
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.ToString().find("secret-tenant"), std::string::npos)
        << status;
  }
}

TEST_F(RegistryTest, IdleSessionsOfAllTenantsAreForgotten) {
  ASSERT_THAT(registry_.Of("a").Create("bn", Config(2)), IsOk());
  CreateAll({"bn"});
  now_ += absl::Hours(2);
  EXPECT_EQ(registry_.ExpireIdle(), 2);
  EXPECT_EQ(registry_.session_count(), 0);
}

}  // namespace
}  // namespace batchnorm::session
