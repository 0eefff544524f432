#include "server/session/spread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace batchnorm::session {
namespace {

// `count` tasks, of which each counts its calls in a place of its own.
std::vector<Task> Counting(std::vector<int>& calls, std::size_t count) {
  calls.assign(count, 0);
  std::vector<Task> tasks;
  tasks.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    tasks.emplace_back([&calls, i] { ++calls[i]; });
  }
  return tasks;
}

TEST(SpreadTest, CallsEachTaskOnceHoweverManyThereAre) {
  for (std::size_t count = 0; count <= 40; ++count) {
    for (std::size_t threads = 1; threads <= 5; ++threads) {
      std::vector<int> calls;
      Spread([](const Task& task) { task(); }, Counting(calls, count), threads);
      EXPECT_THAT(calls, ::testing::Each(1)) << count << " tasks";
      SpreadElsewhere([](const Task& task) { task(); }, Counting(calls, count),
                      threads);
      EXPECT_THAT(calls, ::testing::Each(1)) << count << " tasks elsewhere";
    }
  }
}

TEST(SpreadTest, FewTasksWakeNoOtherThread) {
  std::vector<int> calls;
  Spread([](const Task&) { FAIL() << "another thread"; }, Counting(calls, 8),
         4);
  EXPECT_THAT(calls, ::testing::Each(1));
}

TEST(SpreadTest, OneTaskOrTwoAreNotCalledElsewhere) {
  std::vector<int> calls;
  SpreadElsewhere([](const Task&) { FAIL() << "another thread"; },
                  Counting(calls, 2), 4);
  EXPECT_THAT(calls, ::testing::Each(1));
}

TEST(SpreadTest, ManyTasksAreEvenlyOnAsManyThreadsAsThereMayBe) {
  std::vector<int> calls;
  std::vector<Task> given;
  const auto keep = [&](Task task) { given.push_back(std::move(task)); };
  Spread(keep, Counting(calls, 90), 3);
  EXPECT_EQ(given.size(), 2u);
  EXPECT_THAT(calls, ::testing::Contains(1).Times(30));
  given.front()();
  EXPECT_THAT(calls, ::testing::Contains(1).Times(60));

  given.clear();
  SpreadElsewhere(keep, Counting(calls, 90), 3);
  EXPECT_EQ(given.size(), 3u);
  EXPECT_THAT(calls, ::testing::Each(0));
}

TEST(SpreadTest, WhatOthersRunIsGivenToThemBeforeTheFirstTaskIsCalledHere) {
  std::vector<int> calls;
  std::vector<Task> given;
  std::vector<Task> tasks = Counting(calls, 20);
  std::size_t given_at_first_call = 0;
  tasks[0] = [&] { given_at_first_call = given.size(); };
  Spread([&](Task task) { given.push_back(std::move(task)); }, std::move(tasks),
         4);
  EXPECT_EQ(given_at_first_call, 2u);
  EXPECT_THAT(calls, ::testing::Contains(1).Times(7));
  for (const Task& task : given) task();
  EXPECT_THAT(calls, ::testing::Contains(1).Times(19));
}

}  // namespace
}  // namespace batchnorm::session
