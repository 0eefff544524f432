// Groups through the library, against the real server in process: ranks that
// send tensors and ranks that keep them, and what a rank is told when the
// group is not complete.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"
#include "client/error.h"
#include "client/mock_connection.h"
#include "proto/wire/tensor_codec.h"
#include "server/rpc/server.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;

constexpr std::int64_t kChannels = 4;
constexpr std::int64_t kRows[] = {3, 0, 5};
constexpr std::uint32_t kRanks = 3;

std::vector<float> Values(std::int64_t rows, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(100, 3);
  std::vector<float> values(static_cast<std::size_t>(rows * kChannels));
  for (float& value : values) value = normal(random);
  return values;
}

Tensor Shard(std::uint32_t rank, unsigned seed) {
  return MakeTensor(Values(kRows[rank], seed + rank), {kRows[rank], kChannels});
}

Tensor Whole(unsigned seed) {
  Tensor whole{.dtype = Dtype::kF32, .shape = {8, kChannels}};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    whole.data += Shard(rank, seed).data;
  }
  return whole;
}

Tensor Gamma() { return MakeTensor(std::vector<double>{1, -2, 0.5, 3}, {4}); }
Tensor Beta() { return MakeTensor(std::vector<double>{0, 1, 2, -1}, {4}); }

LayerInput Input(Tensor x) {
  return {.x = std::move(x), .gamma = Gamma(), .beta = Beta()};
}

// What a rank got in one step.
struct Results {
  absl::StatusOr<ForwardResult> forward = absl::UnknownError("no call");
  absl::StatusOr<BackwardResult> backward = absl::UnknownError("no call");
};

template <typename AnyLayer>
Results TakeStep(absl::StatusOr<AnyLayer> layer, const Tensor& x,
                 const Tensor& dy) {
  Results results;
  if (!layer.ok()) return {layer.status(), layer.status()};
  results.forward = layer->Forward(Input(x));
  if (!results.forward.ok()) return results;
  results.backward = layer->Backward({.step = results.forward->step, .dy = dy});
  return results;
}

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() {
    auto server = rpc::Server::Start({.listen = {"localhost:0"},
                                      .barrier_timeout = absl::Seconds(10),
                                      .reflection = false});
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  Client NewClient() const {
    return Client({.target = server_->addresses()[0]});
  }

  static SessionConfig Config(std::uint32_t ranks) {
    return {.channels = kChannels,
            .world_size = ranks,
            .gradient_reduction = GradientReduction::kSum};
  }

  // Ranks for which `by_sums` holds keep their tensors.
  std::vector<Results> RunRanks(const std::string& name,
                                const std::function<bool(int)>& by_sums) {
    std::vector<Results> results(kRanks);
    std::vector<std::thread> threads;
    threads.reserve(kRanks);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      threads.emplace_back([&, rank] {
        const Client client = NewClient();
        const Tensor x = Shard(rank, 1);
        const Tensor dy = Shard(rank, 50);
        results[rank] =
            by_sums(static_cast<int>(rank))
                ? TakeStep(client.OpenSyncLayer(name, Config(kRanks), rank), x,
                           dy)
                : TakeStep(client.OpenLayer(name, Config(kRanks), rank), x, dy);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  std::unique_ptr<rpc::Server> server_;
};

TEST_F(GroupTest, RanksOfEitherKindGetTheBitsOfOneCaller) {
  const Results one =
      TakeStep(NewClient().OpenLayer("one", Config(1)), Whole(1), Whole(50));
  ASSERT_THAT(one.backward, IsOk());
  for (int mode = 0; mode < 8; ++mode) {
    const auto ranks = RunRanks("group" + std::to_string(mode), [&](int rank) {
      return (mode >> rank & 1) != 0;
    });
    std::string y;
    std::string dx;
    for (const Results& rank : ranks) {
      ASSERT_THAT(rank.backward, IsOk());
      y += rank.forward->y.data;
      dx += rank.backward->dx.data;
      EXPECT_EQ(rank.forward->statistics->mean, one.forward->statistics->mean);
      EXPECT_EQ(rank.forward->statistics->var, one.forward->statistics->var);
      EXPECT_EQ(rank.backward->dgamma, one.backward->dgamma);
      EXPECT_EQ(rank.backward->dbeta, one.backward->dbeta);
    }
    EXPECT_EQ(y, one.forward->y.data) << "mode " << mode;
    EXPECT_EQ(dx, one.backward->dx.data) << "mode " << mode;
  }
}

TEST_F(GroupTest, ARankAloneMayKeepItsTensors) {
  const Results one =
      TakeStep(NewClient().OpenLayer("one", Config(1)), Whole(1), Whole(50));
  const Results sums = TakeStep(NewClient().OpenSyncLayer("sums", Config(1)),
                                Whole(1), Whole(50));
  ASSERT_THAT(sums.backward, IsOk());
  EXPECT_EQ(sums.forward->y.data, one.forward->y.data);
  EXPECT_EQ(sums.backward->dx.data, one.backward->dx.data);
}

TEST_F(GroupTest, ASyncLayerRefusesWhatTheServerWould) {
  auto layer = NewClient().OpenSyncLayer("sums", Config(1));
  ASSERT_THAT(layer, IsOk());
  EXPECT_EQ(
      Reason(layer->Forward({.x = MakeTensor(std::vector<float>{1, 2}, {1, 2})})
                 .status()),
      "WRONG_CHANNELS");
  EXPECT_EQ(Reason(layer->Forward({.x = {.shape = {2, kChannels}}}).status()),
            "BAD_TENSOR");
  EXPECT_EQ(Reason(layer->Forward({.x = MakeTensor(std::vector<float>{1}, {1})})
                       .status()),
            "BAD_CHANNEL_AXES");
  EXPECT_EQ(layer->last_step(), 0u);
  auto forward = layer->Forward({.x = Whole(1)});
  ASSERT_THAT(forward, IsOk());
  EXPECT_EQ(Reason(layer->Backward({.step = 1, .dy = Shard(0, 1)}).status()),
            "BAD_TENSOR");
}

TEST_F(GroupTest, NumbersBeyondTheRangeOfSyncAreToldSo) {
  auto layer = NewClient().OpenSyncLayer("sums", {.channels = 1});
  ASSERT_THAT(layer, IsOk());
  const auto forward = layer->Forward(
      {.x = MakeTensor(std::vector<double>{1e200, -1e200, 3e200}, {3, 1})});
  EXPECT_EQ(Reason(forward.status()), "OUT_OF_RANGE_FOR_SYNC");
  EXPECT_EQ(layer->last_step(), 1u);  // the step was taken all the same
  const Tensor dy = MakeTensor(std::vector<double>{1, 2, 3}, {3, 1});
  EXPECT_EQ(Reason(layer->Backward({.step = 1, .dy = dy}).status()),
            "INPUT_EVICTED");
}

// Two ranks with shards {1, 3} and {5}, from sums that anybody can make.
TEST_F(GroupTest, PlainSumsOfAnyKernelWillDo) {
  const Client client = NewClient();
  ASSERT_THAT(client.CreateSession("plain", {.channels = 1,
                                             .normalization = {.eps = 0},
                                             .world_size = 2}),
              IsOk());
  const auto plain = [](double sum) {
    return Expansion{.limbs = MakeTensor(std::vector<double>{sum}, {1, 1})};
  };
  const std::vector<ForwardSums> forward = {{2, plain(4), plain(10)},
                                            {1, plain(5), plain(25)}};
  const std::vector<BackwardSums> backward = {{plain(1), plain(2)},
                                              {plain(2), plain(7)}};
  std::vector<absl::StatusOr<SyncResult>> results(2);
  std::vector<std::thread> ranks;
  ranks.reserve(2);
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      SyncArgs args{.session = "plain", .step = 1, .rank = rank};
      args.sums = forward[rank];
      EXPECT_FALSE(client.Sync(args)->replayed);
      EXPECT_TRUE(client.Sync(args)->replayed);
      args.sums = backward[rank];
      results[rank] = client.Sync(args);
    });
  }
  for (std::thread& rank : ranks) rank.join();
  const double inv_std = 1 / std::sqrt(8.0 / 3);  // of {1, 3, 5}
  for (const auto& result : results) {
    ASSERT_THAT(result, IsOk());
    EXPECT_EQ(result->statistics.count, 3);
    EXPECT_THAT(result->statistics.mean, ElementsAre(3));
    EXPECT_THAT(result->statistics.var, ElementsAre(8.0 / 3));
    EXPECT_THAT(result->gradients.mean_dy, ElementsAre(1));
    EXPECT_EQ(result->gradients.k[0], 0);  // 9 - 3 * 3
  }
  EXPECT_THAT(results[0]->gradients.dbeta, ElementsAre(1));  // its own part
  EXPECT_THAT(results[1]->gradients.dbeta, ElementsAre(2));
  EXPECT_DOUBLE_EQ(results[1]->gradients.dgamma[0], (7 - 2 * 3) * inv_std);
}

// A rank leaves while the other waits; both are there a second time.
TEST_F(GroupTest, ARankThatComesBackFindsTheOthersStillTrying) {
  const Client client = NewClient();
  auto first = client.OpenLayer("group", Config(2), 0);
  ASSERT_THAT(first, IsOk());
  auto gone = std::make_unique<Presence>(
      client.Join({.session = "group", .rank = 1, .job = "job"}));
  const auto sees = [&](const std::function<bool(const GroupInfo&)>& what) {
    for (int i = 0; i < 2000; ++i) {
      if (what(*client.GetSession("group")->group)) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return false;
  };
  ASSERT_TRUE(
      sees([](const GroupInfo& group) { return !group.ranks.empty(); }));
  std::thread waiting([&] {
    const auto forward = first->Forward(Input(Shard(0, 1)));
    ASSERT_THAT(forward, IsOk());
    EXPECT_EQ(forward->step, 1u);
    EXPECT_FALSE(forward->replayed);
  });
  const auto attempt = [](std::uint64_t least) {
    return [least](const GroupInfo& group) {
      return !group.barriers.empty() && group.barriers[0].attempt >= least;
    };
  };
  EXPECT_TRUE(sees(attempt(1)));
  gone.reset();
  EXPECT_TRUE(sees(attempt(2)));  // it was told RANK_LEFT, and has come again
  auto second = client.OpenSyncLayer("group", Config(2), 1);
  EXPECT_THAT(second->Forward(Input(Shard(2, 1))), IsOk());
  waiting.join();
  EXPECT_EQ(client.GetSession("group")->running_statistics->batch_count, 1);
}

TEST_F(GroupTest, ASyncLayerThatIsAcquiredFencesTheFormer) {
  const Client client = NewClient();
  auto former = client.OpenSyncLayer("sums", Config(1));
  ASSERT_THAT(former->Acquire(0), IsOk());
  EXPECT_THAT(former->Forward(Input(Whole(1))), IsOk());
  auto next = client.OpenSyncLayer("sums", Config(1));
  EXPECT_THAT(next->Acquire(2),
              HasCodeAndReason(absl::StatusCode::kDataLoss, "STEPS_LOST"));
  ASSERT_THAT(next->Acquire(1), IsOk());
  const auto is_fenced =
      HasCodeAndReason(absl::StatusCode::kFailedPrecondition, "FENCED");
  EXPECT_THAT(former->Forward(Input(Whole(2))), is_fenced);
  EXPECT_THAT(former->Backward({.step = 1, .dy = Whole(50)}), is_fenced);
  EXPECT_EQ(next->Forward(Input(Whole(2)))->step, 2u);
}

// The former run's process has died with the reply of its step.
TEST_F(GroupTest, ASyncLayerKnowsAReplay) {
  const Client client = NewClient();
  auto one = client.OpenSyncLayer("sums", Config(1));
  auto other = client.OpenSyncLayer("sums", Config(1));
  const auto first = one->Forward(Input(Whole(1)));
  const auto again = other->Forward(Input(Whole(1)));
  ASSERT_THAT(again, IsOk());
  EXPECT_FALSE(first->replayed);
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(first->y.data, again->y.data);
}

TEST_F(GroupTest, APresenceIsSeenAndEndsWithItsObject) {
  const Client client = NewClient();
  ASSERT_THAT(client.CreateSession("group", Config(kRanks)), IsOk());
  const auto joined = [&client] {
    std::vector<std::uint32_t> ranks;
    const auto session = client.GetSession("group");
    for (const RankInfo& rank : session->group->ranks) {
      if (rank.job.has_value()) ranks.push_back(rank.rank);
    }
    return ranks;
  };
  const auto wait_for = [](const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  };
  {
    const Presence first =
        client.Join({.session = "group", .rank = 0, .job = "job"});
    const Presence second =
        client.Join({.session = "group", .rank = 2, .job = "job"});
    wait_for([&] { return first.present_ranks().size() == 2; });
    EXPECT_THAT(first.present_ranks(), ElementsAre(0, 2));
    EXPECT_THAT(joined(), ElementsAre(0, 2));
    const Presence other =
        client.Join({.session = "group", .rank = 1, .job = "other"});
    wait_for([&] { return !other.status().ok(); });
    EXPECT_EQ(Reason(other.status()), "OTHER_JOB");
    EXPECT_THAT(first.status(), IsOk());
  }
  wait_for([&] { return joined().empty(); });
  EXPECT_THAT(joined(), ElementsAre());
}

TEST_F(GroupTest, AGroupIsSeenWhileItWaits) {
  const Client client = NewClient();
  auto layer = client.OpenLayer("group", Config(2), 1);
  ASSERT_THAT(layer, IsOk());
  std::thread waiting(
      [&] { EXPECT_THAT(layer->Forward(Input(Shard(0, 1))), IsOk()); });
  std::optional<GroupInfo> group;
  for (int i = 0; i < 1000 && (!group || group->barriers.empty()); ++i) {
    group = client.GetSession("group")->group;
  }
  ASSERT_EQ(group->barriers.size(), 1u);
  EXPECT_EQ(group->barriers[0].step, 1u);
  EXPECT_EQ(group->barriers[0].phase, GroupPhase::kForward);
  EXPECT_THAT(group->barriers[0].present_ranks, ElementsAre(1));
  EXPECT_THAT(group->barriers[0].missing_ranks, ElementsAre(0));
  auto other = client.OpenLayer("group", Config(2), 0);
  EXPECT_THAT(other->Forward(Input(Shard(2, 1))), IsOk());
  waiting.join();
}

// What a kernel would read beyond its end.
TEST(GroupLayerTest, ASyncThatGivesTooFewNumbersBreaksTheContract) {
  const auto ones = [](std::int64_t channels) {
    return wire::ToProto(
        MakeTensor(std::vector<double>(static_cast<std::size_t>(channels), 1),
                   {channels}));
  };
  SyncReply reply;
  auto& statistics = *reply.response.mutable_statistics();
  statistics.set_count(3);
  for (auto* vector : {statistics.mutable_mean(), statistics.mutable_mean_lo(),
                       statistics.mutable_var()}) {
    *vector = ones(kChannels);
  }
  *statistics.mutable_inv_std() = ones(kChannels - 1);
  auto connection = std::make_shared<::testing::NiceMock<MockConnection>>();
  ON_CALL(*connection, Sync).WillByDefault([&](const v1::SyncRequest&) {
    return reply;
  });
  SyncLayer layer(connection, {.config = {.channels = kChannels}}, 0);
  EXPECT_THAT(layer.Forward({.x = Shard(0, 1)}),
              HasCode(absl::StatusCode::kInternal));
  *statistics.mutable_inv_std() = ones(kChannels);
  const auto forward = layer.Forward({.x = Shard(0, 1)});
  ASSERT_THAT(forward, IsOk());
  EXPECT_THAT(layer.Backward({.step = forward->step, .dy = Shard(0, 2)}),
              HasCode(absl::StatusCode::kInternal));
}

TEST(GroupLayerTest, ARankAndAPassAreSent) {
  auto connection = std::make_shared<MockConnection>();
  EXPECT_CALL(*connection, Forward).WillOnce([](const auto& request) {
    EXPECT_EQ(request.rank(), 5u);
    return ForwardReply();
  });
  EXPECT_CALL(*connection, Backward).WillOnce([](const auto& request) {
    EXPECT_EQ(request.rank(), 5u);
    EXPECT_EQ(request.pass(), 2u);
    return absl::AbortedError("not this time");
  });
  Layer layer(connection, {.name = "group", .config = {.world_size = 8}}, 5);
  EXPECT_EQ(layer.Forward({.x = Shard(0, 1)}).ok(), false);  // an empty reply
  EXPECT_EQ(
      layer.Backward({.step = 1, .dy = Shard(0, 1), .pass = 2}).status().code(),
      absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace batchnorm::client
