#include "client/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/client/errors.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(Error, TellsReasonFieldFactsAndDelay) {
  const absl::Status status = ServerError(absl::StatusCode::kInvalidArgument,
                                          {.reason = "WRONG_CHANNELS",
                                           .field = "gamma.shape",
                                           .metadata = {{"expected", "8"}},
                                           .retry_after = absl::Seconds(2)});
  EXPECT_EQ(Reason(status), "WRONG_CHANNELS");
  EXPECT_EQ(Field(status), "gamma.shape");
  EXPECT_THAT(Metadata(status), ElementsAre(Pair("expected", "8")));
  EXPECT_EQ(RetryAfter(status), absl::Seconds(2));
}

TEST(Error, OfTheNetworkTellsNothing) {
  for (const auto& status : {absl::OkStatus(), absl::UnavailableError("")}) {
    EXPECT_EQ(Reason(status), "");
    EXPECT_EQ(Field(status), "");
    EXPECT_THAT(Metadata(status), IsEmpty());
    EXPECT_FALSE(RetryAfter(status).has_value());
  }
}

// The contract: which failures may have changed something.
TEST(Error, OutcomesAreUnknownAsTheContractSays) {
  EXPECT_TRUE(IsOutcomeUnknown(absl::UnavailableError("")));
  EXPECT_TRUE(IsOutcomeUnknown(absl::DeadlineExceededError("")));
  EXPECT_TRUE(IsOutcomeUnknown(absl::CancelledError("")));
  EXPECT_TRUE(IsOutcomeUnknown(absl::ResourceExhaustedError("")));
  EXPECT_FALSE(IsOutcomeUnknown(BusyFor(absl::Seconds(1))));
  EXPECT_FALSE(IsOutcomeUnknown(absl::AbortedError("")));
  EXPECT_FALSE(IsOutcomeUnknown(
      ServerError(absl::StatusCode::kAborted, "RANK_MISSING")));
  EXPECT_TRUE(IsOutcomeUnknown(
      ServerError(absl::StatusCode::kAborted, "CALL_REPLACED")));
  EXPECT_FALSE(IsOutcomeUnknown(absl::InvalidArgumentError("")));
  EXPECT_FALSE(IsOutcomeUnknown(absl::InternalError("")));
  EXPECT_FALSE(IsOutcomeUnknown(absl::OkStatus()));
}

}  // namespace
}  // namespace batchnorm::client
