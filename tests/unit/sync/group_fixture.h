// A group of ranks without threads: a call is made, and its reply is there when
// the others have come.
#ifndef BATCHNORMD_TESTS_UNIT_SYNC_GROUP_FIXTURE_H_
#define BATCHNORMD_TESTS_UNIT_SYNC_GROUP_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/session/registry.h"
#include "tests/matchers.h"
#include "tests/unit/session/session_fixture.h"

namespace batchnorm::session {

// What a call has come to, if it has.
template <typename Result>
using Reply = std::shared_ptr<std::optional<absl::StatusOr<Result>>>;

template <typename Result>
Completion<Result> Into(const Reply<Result>& reply) {
  return [reply](absl::StatusOr<Result> result) {
    EXPECT_FALSE(reply->has_value()) << "answered twice";
    *reply = std::move(result);
  };
}

template <typename Result>
Reply<Result> NewReply() {
  return std::make_shared<std::optional<absl::StatusOr<Result>>>();
}

inline Reply<ForwardResult> Begin(Session& session, const ForwardCall& call) {
  auto reply = NewReply<ForwardResult>();
  session.Forward(call, Into(reply));
  return reply;
}

inline Reply<BackwardResult> Begin(Session& session, BackwardCall call) {
  auto reply = NewReply<BackwardResult>();
  session.Backward(std::move(call), Into(reply));
  return reply;
}

inline Reply<SyncResult> Begin(Session& session, SyncCall call) {
  auto reply = NewReply<SyncResult>();
  session.Sync(std::move(call), Into(reply));
  return reply;
}

inline ForwardCall OfRank(std::uint32_t rank, ForwardCall call) {
  call.rank = rank;
  return call;
}

inline BackwardCall OfRank(std::uint32_t rank, BackwardCall call) {
  call.rank = rank;
  return call;
}

class GroupTest : public ::testing::Test {
 protected:
  RegistryOptions Options() {
    RegistryOptions options;
    options.clock = [this] { return now_; };
    options.barrier_timeout = absl::Seconds(30);
    options.kept_input_bytes = kept_input_bytes_;
    return options;
  }

  static SessionConfig GroupConfig(std::int64_t channels,
                                   std::uint32_t world_size) {
    SessionConfig config = Config(channels);
    config.world_size = world_size;
    return config;
  }

  std::shared_ptr<Session> Make(Registry& registry, const std::string& name,
                                const SessionConfig& config) {
    EXPECT_THAT(registry.Create(name, config), IsOk());
    return *registry.Find(name);
  }

  std::int64_t kept_input_bytes_ = std::int64_t{1} << 30;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_TESTS_UNIT_SYNC_GROUP_FIXTURE_H_
