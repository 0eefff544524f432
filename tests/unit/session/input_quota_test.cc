#include "server/session/input_quota.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "tests/unit/session/tensors.h"

namespace batchnorm::session {
namespace {

using Account = InputQuota::Account;

// An input of `bytes` bytes of x, and nothing else.
InputQuota::Input InputOf(std::int64_t bytes) {
  const Shape shape = {bytes / 2, 1};
  const std::vector<int> axes = {1};
  return std::make_shared<const KeptInput>(
      KeptInput{FromBytes(kernel::Dtype::kF16, shape,
                          std::string(static_cast<std::size_t>(bytes), '\0')),
                kernel::ChannelLayout(shape, axes),
                {},
                nullptr});
}

class InputQuotaTest : public ::testing::Test {
 protected:
  InputQuota::Ticket Keep(std::int64_t bytes) {
    return quota_.Keep(InputOf(bytes), account_).ticket;
  }

  InputQuota quota_{100};
  std::shared_ptr<Account> account_ = std::make_shared<Account>();
};

TEST_F(InputQuotaTest, KeepsTheVeryInput) {
  const InputQuota::Input input = InputOf(40);
  const auto kept = quota_.Keep(input, account_);
  EXPECT_EQ(kept.ticket.Use(), input);
  EXPECT_EQ(quota_.used_bytes(), 40);
  EXPECT_EQ(account_->x_bytes, 40);
}

TEST_F(InputQuotaTest, TheLeastRecentlyUsedGoesFirst) {
  const auto first = Keep(40);
  const auto second = Keep(40);
  first.Use();
  const auto third = Keep(40);
  EXPECT_NE(first.Use(), nullptr);
  EXPECT_EQ(second.Use(), nullptr);
  EXPECT_NE(third.Use(), nullptr);
  EXPECT_EQ(quota_.used_bytes(), 80);
  EXPECT_EQ(account_->evicted_count, 1);
}

TEST_F(InputQuotaTest, AsManyGoAsMakeRoomAndNoMore) {
  const auto a = Keep(30);
  const auto b = Keep(30);
  const auto c = Keep(30);
  const auto kept = quota_.Keep(InputOf(60), account_);
  EXPECT_EQ(kept.evicted.size(), 2u);
  EXPECT_EQ(a.Use(), nullptr);
  EXPECT_EQ(b.Use(), nullptr);
  EXPECT_NE(c.Use(), nullptr);
  EXPECT_EQ(quota_.used_bytes(), 90);
}

TEST_F(InputQuotaTest, ExactlyTheQuotaFits) {
  const auto whole = Keep(100);
  EXPECT_NE(whole.Use(), nullptr);
}

TEST_F(InputQuotaTest, WhatExceedsTheWholeQuotaIsNotKeptAndEvictsNothing) {
  const auto small = Keep(40);
  const auto large = Keep(102);
  EXPECT_EQ(large.Use(), nullptr);
  EXPECT_NE(small.Use(), nullptr);
  EXPECT_EQ(account_->evicted_count, 0);
}

TEST_F(InputQuotaTest, AQuotaOfZeroKeepsNothingButEmptyInputs) {
  InputQuota none(0);
  EXPECT_EQ(none.Keep(InputOf(2), account_).ticket.Use(), nullptr);
  EXPECT_NE(none.Keep(InputOf(0), account_).ticket.Use(), nullptr);
}

TEST_F(InputQuotaTest, ATicketGivesItsRoomBackWhenItEnds) {
  std::optional<InputQuota::Ticket> ticket = Keep(60);
  ticket.reset();
  EXPECT_EQ(quota_.used_bytes(), 0);
  EXPECT_EQ(account_->x_bytes, 0);
}

TEST_F(InputQuotaTest, AReplacedTicketGivesItsRoomBack) {
  auto ticket = Keep(60);
  ticket = Keep(20);
  EXPECT_EQ(quota_.used_bytes(), 20);
  EXPECT_NE(ticket.Use(), nullptr);
}

TEST_F(InputQuotaTest, AReleasedInputIsReturnedOnce) {
  auto ticket = Keep(60);
  EXPECT_NE(ticket.Release(), nullptr);
  EXPECT_EQ(ticket.Release(), nullptr);
  EXPECT_EQ(ticket.Use(), nullptr);
  EXPECT_EQ(quota_.used_bytes(), 0);
}

TEST_F(InputQuotaTest, AnInputInUseOutlivesItsEviction) {
  const auto ticket = Keep(60);
  const InputQuota::Input used = ticket.Use();
  const auto next = Keep(60);
  EXPECT_EQ(ticket.Use(), nullptr);
  EXPECT_EQ(used->x_bytes(), 60);
}

TEST_F(InputQuotaTest, EvictionIsCountedForTheOwner) {
  const auto other = std::make_shared<Account>();
  const auto mine = Keep(80);
  const auto theirs = quota_.Keep(InputOf(80), other);
  EXPECT_EQ(account_->evicted_count, 1);
  EXPECT_EQ(account_->x_bytes, 0);
  EXPECT_EQ(other->evicted_count, 0);
  EXPECT_EQ(other->x_bytes, 80);
}

TEST_F(InputQuotaTest, GammaAndSumsCountAsRoomButNotAsInput) {
  KeptInput input = *InputOf(10);
  input.gamma = {1, 2};
  input.batch = std::make_shared<const kernel::TrainBatch>(kernel::TrainBatch{
      kernel::ForwardSums(1, kernel::Dtype::kF16), kernel::Statistics()});
  InputQuota quota(1000);
  const auto kept =
      quota.Keep(std::make_shared<const KeptInput>(input), account_);
  EXPECT_EQ(quota.used_bytes(), 10 + 16 + kernel::TrainBatch::kBytesAChannel);
  EXPECT_EQ(account_->x_bytes, 10);
}

TEST_F(InputQuotaTest, ManyThreadsLeaveItEmpty) {
  const auto work = [this] {
    std::vector<InputQuota::Ticket> tickets(8);
    for (std::size_t i = 0; i < 2000; ++i) {
      tickets[i % 8] = Keep(static_cast<std::int64_t>(2 * (i % 30)));
      tickets[(i * 5) % 8].Use();
      EXPECT_LE(quota_.used_bytes(), 100);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(quota_.used_bytes(), 0);
  EXPECT_EQ(account_->x_bytes, 0);
}

}  // namespace
}  // namespace batchnorm::session
