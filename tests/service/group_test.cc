// Groups over real sockets: ranks on connections of their own, in all modes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/service/held_call.h"
#include "tests/service/refusal.h"
#include "tests/service/running_server.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

using ::testing::ElementsAre;
using Code = grpc::StatusCode;

constexpr std::int64_t kChannels = 3;
// Samples of each rank; the middle one is empty.
constexpr std::int64_t kSamples[] = {4, 0, 5};
constexpr std::uint32_t kRanks = 3;

template <typename Reply>
struct Answer {
  grpc::Status status;
  Reply reply;
};

// A call on a thread of its own.
template <typename Reply>
using Pending = std::future<Answer<Reply>>;

Pending<v1::ForwardResponse> Begin(const RunningServer& service,
                                   const v1::ForwardRequest& request) {
  return std::async(std::launch::async, [&service, request] {
    Answer<v1::ForwardResponse> answer;
    const auto context = NewContext();
    answer.status =
        service.stub().Forward(context.get(), request, &answer.reply);
    return answer;
  });
}

Pending<v1::BackwardResponse> Begin(const RunningServer& service,
                                    const v1::BackwardRequest& request) {
  return std::async(std::launch::async, [&service, request] {
    Answer<v1::BackwardResponse> answer;
    const auto context = NewContext();
    answer.status =
        service.stub().Backward(context.get(), request, &answer.reply);
    return answer;
  });
}

Answer<v1::SyncResponse> Sync(const RunningServer& service,
                              const v1::SyncRequest& request) {
  Answer<v1::SyncResponse> answer;
  answer.status =
      service.stub().Sync(NewContext().get(), request, &answer.reply);
  return answer;
}

// One sum a channel, as a worker with plain f64 sums sends it.
v1::Expansion Plain(const std::vector<double>& sums) {
  v1::Expansion expansion;
  *expansion.mutable_limbs() =
      F64({1, static_cast<std::int64_t>(sums.size())}, sums);
  return expansion;
}

class GroupServiceTest : public ::testing::Test {
 protected:
  GroupServiceTest() {
    config_.set_channels(kChannels);
    config_.set_world_size(kRanks);
    config_.set_gradient_reduction(v1::GRADIENT_REDUCTION_SUM);
  }

  static rpc::ServerOptions Options() {
    rpc::ServerOptions options = LoopbackOptions();
    options.barrier_timeout = absl::Milliseconds(300);
    options.finish_timeout = absl::Seconds(5);
    return options;
  }

  static std::vector<double> Values(std::uint32_t rank, std::uint64_t seed) {
    return Noise(static_cast<std::size_t>(kSamples[rank] * kChannels),
                 seed + rank);
  }
  static std::vector<double> All(std::uint64_t seed) {
    std::vector<double> all;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      const std::vector<double> part = Values(rank, seed);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  static v1::ForwardRequest ForwardOf(std::uint32_t rank,
                                      std::uint64_t step = 1) {
    v1::ForwardRequest request;
    request.set_session("group");
    request.set_step(step);
    request.set_rank(rank);
    request.set_mode(v1::MODE_TRAIN);
    *request.mutable_x() = F64({kSamples[rank], kChannels}, Values(rank, 10));
    return request;
  }

  static v1::BackwardRequest BackwardOf(std::uint32_t rank) {
    v1::BackwardRequest request;
    request.set_session("group");
    request.set_step(1);
    request.set_rank(rank);
    *request.mutable_dy() = F64({kSamples[rank], kChannels}, Values(rank, 20));
    return request;
  }

  // The whole batch, by one caller.
  v1::ForwardResponse WholeForward() {
    v1::SessionConfig config = config_;
    config.set_world_size(1);
    service_.CreateSession("one", config);
    v1::ForwardRequest request = ForwardOf(0);
    request.set_session("one");
    *request.mutable_x() = F64({9, kChannels}, All(10));
    return service_.Forward(request);
  }
  v1::BackwardResponse WholeBackward() {
    v1::BackwardRequest request = BackwardOf(0);
    request.set_session("one");
    *request.mutable_dy() = F64({9, kChannels}, All(20));
    return service_.Backward(request);
  }

  std::vector<std::uint32_t> PresentAtBarrier() const {
    const v1::GroupState group = service_.GetSession("group").group();
    if (group.barriers_size() == 0) return {};
    return {group.barriers(0).present_ranks().begin(),
            group.barriers(0).present_ranks().end()};
  }
  void WaitForRanks(std::size_t ranks) const {
    WaitUntil([&] { return PresentAtBarrier().size() == ranks; });
  }

  v1::SessionConfig config_;
  RunningServer service_{LoopbackOptions()};
};

TEST_F(GroupServiceTest, RanksGetTheirPartsOfWhatOneCallerGets) {
  service_.CreateSession("group", config_);
  const v1::ForwardResponse whole = WholeForward();
  std::vector<Pending<v1::ForwardResponse>> forwards;
  forwards.reserve(kRanks);
  for (const std::uint32_t rank : {2u, 0u, 1u}) {
    forwards.push_back(Begin(service_, ForwardOf(rank)));
  }
  std::string y[kRanks];
  for (const std::uint32_t rank : {2u, 0u, 1u}) {
    const auto answer = forwards[rank == 2 ? 0 : rank + 1].get();
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.reply.statistics().SerializeAsString(),
              whole.statistics().SerializeAsString());
    y[rank] = answer.reply.y().data();
  }
  EXPECT_EQ(y[0] + y[1] + y[2], whole.y().data());

  const v1::BackwardResponse gradients = WholeBackward();
  std::vector<Pending<v1::BackwardResponse>> backwards;
  backwards.reserve(kRanks);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    backwards.push_back(Begin(service_, BackwardOf(rank)));
  }
  std::string dx;
  for (auto& backward : backwards) {
    const auto answer = backward.get();
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.reply.dgamma().data(), gradients.dgamma().data());
    EXPECT_EQ(answer.reply.dbeta().data(), gradients.dbeta().data());
    dx += answer.reply.dx().data();
  }
  EXPECT_EQ(dx, gradients.dx().data());
}

TEST_F(GroupServiceTest, ARankWithPlainSumsTakesPart) {
  config_.set_world_size(2);
  service_.CreateSession("group", config_);
  auto forward = Begin(service_, ForwardOf(0));
  // Its x is 1, 2, 3 in every channel: sums without rounding.
  v1::SyncRequest request;
  request.set_session("group");
  request.set_step(1);
  request.set_rank(1);
  request.mutable_forward()->set_count(3);
  *request.mutable_forward()->mutable_sum() = Plain({6, 6, 6});
  *request.mutable_forward()->mutable_sum_of_squares() = Plain({14, 14, 14});
  const auto synced = Sync(service_, request);
  ASSERT_TRUE(synced.status.ok()) << synced.status.error_message();
  const auto answer = forward.get();
  ASSERT_TRUE(answer.status.ok());
  EXPECT_EQ(synced.reply.step(), 1U);
  EXPECT_EQ(synced.reply.statistics().count(), 7);
  EXPECT_EQ(synced.reply.statistics().SerializeAsString(),
            answer.reply.statistics().SerializeAsString());

  auto backward = Begin(service_, BackwardOf(0));
  request.clear_forward();
  *request.mutable_backward()->mutable_sum_dy() = Plain({1, 2, 3});
  *request.mutable_backward()->mutable_sum_dy_x() = Plain({-1, 0, 1});
  const auto gradients = Sync(service_, request);
  ASSERT_TRUE(gradients.status.ok()) << gradients.status.error_message();
  EXPECT_EQ(gradients.reply.gradients().dgamma().data(),
            backward.get().reply.dgamma().data());
  // Again: the same bytes.
  EXPECT_EQ(Sync(service_, request).reply.SerializeAsString(),
            gradients.reply.SerializeAsString());
}

TEST_F(GroupServiceTest, SumsThatCannotBeAreRefusedByField) {
  config_.set_world_size(1);
  service_.CreateSession("group", config_);
  v1::SyncRequest request;
  request.set_session("group");
  request.set_step(1);
  EXPECT_THAT(Sync(service_, request).status,
              Refused(Code::INVALID_ARGUMENT, "BAD_SUMS", "sums"));
  v1::ForwardSums& sums = *request.mutable_forward();
  sums.set_count(2);
  *sums.mutable_sum() = Plain({1, 1, 1});
  *sums.mutable_sum_of_squares() = Plain({1, 1});
  EXPECT_THAT(Sync(service_, request).status,
              Refused(Code::INVALID_ARGUMENT, "BAD_SUMS",
                      "forward.sum_of_squares.limbs.shape"));
  *sums.mutable_sum_of_squares() = Plain({2, 2, 2});
  sums.mutable_sum()->add_scales(5);
  sums.mutable_sum()->add_scales(5);
  EXPECT_THAT(
      Sync(service_, request).status,
      Refused(Code::INVALID_ARGUMENT, "BAD_SUMS", "forward.sum.scales"));
  sums.mutable_sum()->clear_scales();
  sums.set_count(-1);
  EXPECT_THAT(Sync(service_, request).status,
              Refused(Code::INVALID_ARGUMENT, "BAD_SUMS", "forward.count"));
  sums.set_count(0);
  EXPECT_THAT(Sync(service_, request).status,
              Refused(Code::INVALID_ARGUMENT, "BAD_SUMS", "forward.sum"));
  sums.set_count(2);
  *sums.mutable_sum()->mutable_limbs() = F32({1, 3}, {1, 1, 1});
  EXPECT_THAT(
      Sync(service_, request).status,
      Refused(Code::INVALID_ARGUMENT, "BAD_SUMS", "forward.sum.limbs.dtype"));
  *sums.mutable_sum() = Plain({1, 1, std::nan("")});
  EXPECT_THAT(Sync(service_, request).status,
              Refused(Code::INVALID_ARGUMENT, "NON_FINITE_INPUT", "forward"));
  *sums.mutable_sum() = Plain({1, 1, 1});
  EXPECT_TRUE(Sync(service_, request).status.ok());
}

TEST_F(GroupServiceTest, AMissingRankIsNamedAfterTheTimeout) {
  const RunningServer service(Options());
  service.CreateSession("group", config_);
  auto first = Begin(service, ForwardOf(0));
  auto second = Begin(service, ForwardOf(2));
  for (auto* waiting : {&first, &second}) {
    const Refusal refusal = RefusalOf(waiting->get().status);
    EXPECT_EQ(refusal.code, Code::ABORTED);
    EXPECT_EQ(refusal.reason, "RANK_MISSING");
    EXPECT_EQ(refusal.metadata.at("ranks"), "1");
    EXPECT_EQ(refusal.metadata.at("step"), "1");
    EXPECT_TRUE(refusal.retry_seconds.has_value());
  }
  EXPECT_EQ(service.GetSession("group").last_step(), 0U);
}

TEST_F(GroupServiceTest, ARankRefusedForLackOfBytesReleasesTheOthers) {
  rpc::ServerOptions options = LoopbackOptions();
  options.max_bytes_in_flight = 64 << 10;
  const RunningServer service(options);
  config_.set_world_size(2);
  service.CreateSession("group", config_);
  auto waiting = Begin(service, ForwardOf(0));
  WaitUntil(
      [&] { return service.GetSession("group").group().barriers_size() == 1; });
  v1::ForwardRequest large = ForwardOf(1);
  *large.mutable_x() = F64({10'000, kChannels}, Noise(30'000, 3));
  EXPECT_EQ(RefusalOf(service.StatusOf(large)).reason,
            "TOO_MANY_BYTES_IN_FLIGHT");
  const Refusal refusal = RefusalOf(waiting.get().status);
  EXPECT_EQ(refusal.reason, "RANK_REFUSED");
  EXPECT_EQ(refusal.metadata.at("rank_reason"), "TOO_MANY_BYTES_IN_FLIGHT");
}

TEST_F(GroupServiceTest, ARankWhoseTensorIsNoneReleasesTheOthers) {
  config_.set_world_size(2);
  service_.CreateSession("group", config_);
  const auto expect_released = [&](auto& waiting) {
    const Refusal refusal = RefusalOf(waiting.get().status);
    EXPECT_EQ(refusal.reason, "RANK_REFUSED");
    EXPECT_EQ(refusal.metadata.at("rank_reason"), "BAD_TENSOR");
  };
  const auto wait_for_one = [&] {
    WaitUntil([&] {
      return service_.GetSession("group").group().barriers_size() == 1;
    });
  };
  auto forward = Begin(service_, ForwardOf(0));
  wait_for_one();
  v1::ForwardRequest damaged = ForwardOf(1);
  damaged.mutable_x()->mutable_data()->append("x");
  damaged.set_mode(v1::MODE_INFERENCE);  // takes no step
  EXPECT_EQ(RefusalOf(service_.StatusOf(damaged)).reason, "BAD_TENSOR");
  EXPECT_EQ(forward.wait_for(std::chrono::milliseconds(100)),
            std::future_status::timeout);
  damaged.set_mode(v1::MODE_TRAIN);
  EXPECT_EQ(RefusalOf(service_.StatusOf(damaged)).reason, "BAD_TENSOR");
  expect_released(forward);

  auto first = Begin(service_, ForwardOf(0));
  EXPECT_TRUE(Begin(service_, ForwardOf(1)).get().status.ok());
  EXPECT_TRUE(first.get().status.ok());
  auto backward = Begin(service_, BackwardOf(0));
  wait_for_one();
  v1::BackwardRequest damaged_dy = BackwardOf(1);
  damaged_dy.mutable_dy()->mutable_data()->append("x");
  EXPECT_EQ(RefusalOf(service_.StatusOf(damaged_dy)).reason, "BAD_TENSOR");
  expect_released(backward);
}

TEST_F(GroupServiceTest, ADeadlineEndsTheWaitNotThePart) {
  config_.set_world_size(2);
  service_.CreateSession("group", config_);
  grpc::ClientContext hurried;
  hurried.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(200));
  v1::ForwardResponse none;
  EXPECT_EQ(service_.stub().Forward(&hurried, ForwardOf(0), &none).error_code(),
            Code::DEADLINE_EXCEEDED);
  EXPECT_THAT(PresentAtBarrier(), ElementsAre(0));
  EXPECT_TRUE(Begin(service_, ForwardOf(1)).get().status.ok());
  const auto again = Begin(service_, ForwardOf(0)).get();
  EXPECT_TRUE(again.status.ok());
}

// ---- Join

// A rank's Join, with what it was told so far.
class Presence {
 public:
  Presence(const RunningServer& service, std::uint32_t rank,
           const std::string& job) {
    v1::JoinRequest request;
    request.set_session("group");
    request.set_rank(rank);
    request.set_job(job);
    stream_ = service.stub().Join(context_.get(), request);
  }

  std::vector<std::uint32_t> Next() {
    v1::JoinResponse response;
    if (!stream_->Read(&response)) return {};
    return {response.present_ranks().begin(), response.present_ranks().end()};
  }
  // Reads until it ends.
  grpc::Status End() {
    v1::JoinResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }
  void Close() { context_->TryCancel(); }

 private:
  std::unique_ptr<grpc::ClientContext> context_ = NewContext();
  std::unique_ptr<grpc::ClientReader<v1::JoinResponse>> stream_;
};

class JoinTest : public GroupServiceTest {
 protected:
  JoinTest() { service_.CreateSession("group", config_); }
};

TEST_F(JoinTest, ARankThatLeavesIsMissedWithinASecond) {
  Presence first(service_, 0, "job");
  EXPECT_THAT(first.Next(), ElementsAre(0));
  Presence second(service_, 1, "job");
  EXPECT_THAT(first.Next(), ElementsAre(0, 1));
  auto waiting = Begin(service_, ForwardOf(0));
  WaitForRanks(1);
  const absl::Time left = absl::Now();
  second.Close();
  const Refusal refusal = RefusalOf(waiting.get().status);
  EXPECT_LT(absl::Now() - left, absl::Seconds(1));
  EXPECT_EQ(refusal.code, Code::ABORTED);
  EXPECT_EQ(refusal.reason, "RANK_LEFT");
  EXPECT_EQ(refusal.metadata.at("ranks"), "1");
  EXPECT_THAT(first.Next(), ElementsAre(0));
}

TEST_F(JoinTest, AnotherJobIsToldThatTheNameIsTaken) {
  Presence first(service_, 0, "mine");
  EXPECT_THAT(first.Next(), ElementsAre(0));
  Presence other(service_, 1, "yours");
  EXPECT_THAT(other.End(), Refused(Code::ALREADY_EXISTS, "OTHER_JOB", "job"));
  const v1::GroupState group = service_.GetSession("group").group();
  ASSERT_EQ(group.ranks_size(), 1);
  EXPECT_TRUE(group.ranks(0).is_joined());
  EXPECT_EQ(group.ranks(0).job(), "mine");
}

TEST_F(JoinTest, JoinsAndWaitingRanksEndWithTheServer) {
  Presence first(service_, 0, "job");
  EXPECT_THAT(first.Next(), ElementsAre(0));
  auto waiting = Begin(service_, ForwardOf(0));
  WaitForRanks(1);
  service_.server().Drain(absl::ZeroDuration());
  EXPECT_EQ(RefusalOf(waiting.get().status).reason, "SERVER_DRAINING");
  EXPECT_EQ(RefusalOf(first.End()).reason, "SERVER_DRAINING");
}

TEST_F(JoinTest, ManyJoinsComeAndGo) {
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Presence>> ranks;
    ranks.reserve(kRanks);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      ranks.push_back(std::make_unique<Presence>(service_, rank, "job"));
      EXPECT_FALSE(ranks.back()->Next().empty());
    }
    for (const auto& rank : ranks) rank->Close();
    for (const auto& rank : ranks) {
      EXPECT_EQ(rank->End().error_code(), Code::CANCELLED);
    }
    WaitUntil([&] {
      const v1::GroupState group = service_.GetSession("group").group();
      return std::none_of(group.ranks().begin(), group.ranks().end(),
                          [](const auto& rank) { return rank.is_joined(); });
    });
  }
}

}  // namespace
}  // namespace batchnorm::service_test
