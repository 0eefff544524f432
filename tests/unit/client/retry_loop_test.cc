// The retry policy in fake time: what is tried again, when, how often.
#include "client/retry_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "client/error.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/fake_time.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using absl::Milliseconds;
using absl::Seconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RetryLoopTest : public ::testing::Test {
 protected:
  // Fails with each of `failures`, then answers 42.
  absl::StatusOr<int> Run(std::deque<absl::Status> failures,
                          Repeat repeat = Repeat::kSafe) {
    const RetryEnvironment environment = time_.Environment(random_);
    return RetryLoop(Attempts(policy_, environment, timeout_, repeat),
                     [&](absl::Duration timeout) -> absl::StatusOr<int> {
                       timeouts_.push_back(timeout);
                       time_.Pass(attempt_takes_);
                       if (failures.empty()) return 42;
                       absl::Status failure = failures.front();
                       failures.pop_front();
                       return failure;
                     });
  }

  absl::StatusOr<int> RunForever(const absl::Status& failure) {
    return Run(std::deque<absl::Status>(10'000, failure));
  }

  RetryPolicy policy_;
  absl::Duration timeout_ = Seconds(60);
  absl::Duration attempt_takes_ = absl::ZeroDuration();
  double random_ = 0;
  FakeTime time_;
  std::vector<absl::Duration> timeouts_;
};

TEST_F(RetryLoopTest, SuccessIsNotTriedAgain) {
  EXPECT_EQ(*Run({}), 42);
  EXPECT_THAT(timeouts_, SizeIs(1));
  EXPECT_THAT(time_.pauses(), IsEmpty());
}

TEST_F(RetryLoopTest, PassingFailuresAreTriedAgain) {
  EXPECT_EQ(*Run({absl::UnavailableError(""), absl::DeadlineExceededError(""),
                  absl::AbortedError("")}),
            42);
  EXPECT_THAT(timeouts_, SizeIs(4));
}

TEST_F(RetryLoopTest, AllOtherFailuresAreFinal) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status failure(static_cast<absl::StatusCode>(code), "");
    if (absl::IsUnavailable(failure) || absl::IsDeadlineExceeded(failure) ||
        absl::IsAborted(failure)) {
      continue;
    }
    timeouts_.clear();
    EXPECT_THAT(RunForever(failure), HasCode(failure.code()));
    EXPECT_THAT(timeouts_, SizeIs(1)) << failure;
  }
}

TEST_F(RetryLoopTest, PausesDoubleUpToTheMost) {
  policy_.initial_backoff = Seconds(1);
  policy_.max_backoff = Seconds(5);
  policy_.max_attempts = 6;
  random_ = 1;
  EXPECT_THAT(RunForever(absl::UnavailableError("")),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_THAT(time_.pauses(), ElementsAre(Seconds(1), Seconds(2), Seconds(4),
                                          Seconds(5), Seconds(5)));
}

TEST_F(RetryLoopTest, ChanceShortensAPauseByUpToHalf) {
  policy_.initial_backoff = Seconds(1);
  policy_.max_attempts = 3;
  random_ = 0;
  EXPECT_THAT(RunForever(absl::UnavailableError("")),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_THAT(time_.pauses(), ElementsAre(Milliseconds(500), Seconds(1)));
}

TEST_F(RetryLoopTest, RandomFractionsFillTheUnitInterval) {
  double least = 1;
  double most = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double fraction = RetryEnvironment::RandomFraction();
    least = std::min(least, fraction);
    most = std::max(most, fraction);
  }
  EXPECT_GE(least, 0);
  EXPECT_LT(least, 0.01);
  EXPECT_GT(most, 0.99);
  EXPECT_LT(most, 1);
}

TEST_F(RetryLoopTest, AttemptsAreBounded) {
  policy_.max_attempts = 5;
  EXPECT_THAT(RunForever(absl::AbortedError("")),
              HasCode(absl::StatusCode::kAborted));
  EXPECT_THAT(timeouts_, SizeIs(5));
}

absl::Status Aborted(const char* reason) {
  return ServerError(absl::StatusCode::kAborted,
                     {.reason = reason, .retry_after = Milliseconds(100)});
}

TEST_F(RetryLoopTest, AGroupIsWaitedForAsLongAsTheCallMayTake) {
  policy_.max_attempts = 2;
  policy_.total_timeout = Seconds(60);
  EXPECT_EQ(*Run({Aborted("RANK_LEFT"), Aborted("RANK_MISSING"),
                  Aborted("RANK_REFUSED"), Aborted("GROUP_CHANGED")}),
            42);
  EXPECT_THAT(RunForever(Aborted("RANK_LEFT")),
              HasCodeAndReason(absl::StatusCode::kAborted, "RANK_LEFT"));
  EXPECT_GT(timeouts_.size(), 60U);
  EXPECT_THAT(time_.pauses(), Each(::testing::Le(Seconds(1))));
  EXPECT_THAT(time_.pauses(), Each(::testing::Ge(Milliseconds(100))));
}

TEST_F(RetryLoopTest, AGroupDoesNotSpareOtherFailures) {
  policy_.max_attempts = 2;
  EXPECT_THAT(Run({absl::UnavailableError(""), Aborted("RANK_LEFT"),
                   absl::UnavailableError("")}),
              HasCode(absl::StatusCode::kUnavailable));
}

TEST_F(RetryLoopTest, TwoCallersOfOneRankDoNotReplaceEachOtherForEver) {
  policy_.max_attempts = 3;
  EXPECT_THAT(RunForever(Aborted("CALL_REPLACED")),
              HasCodeAndReason(absl::StatusCode::kAborted, "CALL_REPLACED"));
  EXPECT_THAT(timeouts_, SizeIs(3));
}

TEST_F(RetryLoopTest, OneAttemptNeverRetries) {
  policy_.max_attempts = 1;
  EXPECT_THAT(RunForever(Aborted("RANK_LEFT")),
              HasCode(absl::StatusCode::kAborted));
  EXPECT_THAT(RunForever(absl::UnavailableError("gone")),
              HasCode(absl::StatusCode::kUnavailable));
  EXPECT_THAT(time_.pauses(), IsEmpty());
}

TEST_F(RetryLoopTest, AnExhaustedServerIsTriedAgainOnlyIfItSaysWhen) {
  EXPECT_EQ(*Run({BusyFor(Seconds(3))}), 42);
  EXPECT_THAT(time_.pauses(), ElementsAre(Seconds(3)));
  timeouts_.clear();
  EXPECT_THAT(Run({ServerError(absl::StatusCode::kResourceExhausted,
                               "TOO_MANY_SESSIONS")}),
              HasCodeAndReason(absl::StatusCode::kResourceExhausted,
                               "TOO_MANY_SESSIONS"));
  EXPECT_THAT(timeouts_, SizeIs(1));
}

TEST_F(RetryLoopTest, TheDelayThatTheServerAsksForIsALowerBound) {
  policy_.initial_backoff = Seconds(2);
  random_ = 1;
  EXPECT_EQ(*Run({BusyFor(Milliseconds(1)),
                  ServerError(absl::StatusCode::kUnavailable,
                              {.reason = "BUSY", .retry_after = Seconds(9)})}),
            42);
  EXPECT_THAT(time_.pauses(), ElementsAre(Seconds(2), Seconds(9)));
}

TEST_F(RetryLoopTest, ADelayBeyondTheBudgetEndsTheCallAtOnce) {
  policy_.total_timeout = Seconds(10);
  EXPECT_THAT(Run({BusyFor(Seconds(10))}),
              HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(time_.pauses(), IsEmpty());
}

TEST_F(RetryLoopTest, AnAttemptMayTakeItsTimeoutButNoMoreThanIsLeft) {
  timeout_ = Seconds(60);
  policy_.total_timeout = Seconds(100);
  policy_.initial_backoff = Seconds(10);
  attempt_takes_ = Seconds(40);
  random_ = 1;
  EXPECT_EQ(*Run({absl::DeadlineExceededError("")}), 42);
  EXPECT_THAT(timeouts_, ElementsAre(Seconds(60), Seconds(50)));
}

TEST_F(RetryLoopTest, TheWholeCallNeverOutlivesItsBudget) {
  policy_.total_timeout = Seconds(90);
  policy_.max_attempts = 1'000;
  attempt_takes_ = Seconds(7);
  random_ = 0.5;
  const auto environment = time_.Environment();
  const auto start = environment.now();
  EXPECT_THAT(RunForever(absl::UnavailableError("")),
              HasCode(absl::StatusCode::kUnavailable));
  // The last attempt began within the budget; fake ones ignore their timeout.
  EXPECT_LT(environment.now() - start, std::chrono::seconds(90 + 7));
  EXPECT_THAT(timeouts_, Each(::testing::Gt(absl::ZeroDuration())));
}

TEST_F(RetryLoopTest, WithoutEndMeansWithoutEnd) {
  timeout_ = absl::InfiniteDuration();
  policy_.total_timeout = absl::InfiniteDuration();
  EXPECT_EQ(*Run({absl::UnavailableError("")}), 42);
  EXPECT_THAT(timeouts_, Each(absl::InfiniteDuration()));
}

TEST_F(RetryLoopTest, WhatMustNotBeRepeatedIsNotAfterAnUnknownOutcome) {
  for (const auto& failure :
       {absl::UnavailableError(""), absl::DeadlineExceededError(""),
        absl::CancelledError(""), absl::ResourceExhaustedError("")}) {
    timeouts_.clear();
    EXPECT_THAT(Run({failure}, Repeat::kUnsafe), HasCode(failure.code()));
    EXPECT_THAT(timeouts_, SizeIs(1)) << failure;
  }
}

TEST_F(RetryLoopTest, WhatMustNotBeRepeatedIsTriedAgainIfNothingHasChanged) {
  EXPECT_EQ(
      *Run({absl::AbortedError(""), BusyFor(Milliseconds(5))}, Repeat::kUnsafe),
      42);
}

TEST_F(RetryLoopTest, TheLastErrorSaysHowOftenItWasTriedAndKeepsItsDetails) {
  policy_.max_attempts = 3;
  policy_.initial_backoff = Seconds(1);
  const absl::StatusOr<int> result = RunForever(BusyFor(Seconds(2)));
  EXPECT_THAT(result, HasCodeAndReason(absl::StatusCode::kResourceExhausted,
                                       "TOO_MANY_BYTES_IN_FLIGHT"));
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("as scripted (3 attempts in 4s)"));
  EXPECT_EQ(RetryAfter(result.status()), Seconds(2));
}

TEST_F(RetryLoopTest, AnErrorOfTheFirstAttemptIsPassedOnAsItIs) {
  const absl::StatusOr<int> result = Run({absl::NotFoundError("no layer")});
  EXPECT_EQ(result.status(), absl::NotFoundError("no layer"));
}

}  // namespace
}  // namespace batchnorm::client
