#include "server/session/error.h"

#include "tests/matchers.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;

TEST(ErrorTest, DetailsComeBackAsTheyWereGiven) {
  const ErrorDetail given = {.reason = "STEP_GAP",
                             .field = "step",
                             .metadata = {{"last_step", "41"}, {"a/b", ""}},
                             .retry_after = absl::Milliseconds(1500)};
  const absl::Status status =
      MakeError(absl::StatusCode::kFailedPrecondition, "expected 42", given);
  EXPECT_EQ(status.message(), "expected 42");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  const std::optional<ErrorDetail> found = DetailOf(status);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->reason, given.reason);
  EXPECT_EQ(found->field, given.field);
  EXPECT_EQ(found->metadata, given.metadata);
  EXPECT_EQ(found->retry_after, given.retry_after);
}

TEST(ErrorTest, WhatWasNotGivenIsAbsent) {
  const auto found = DetailOf(MakeError(absl::StatusCode::kNotFound, "no",
                                        {.reason = "SESSION_NOT_FOUND"}));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->field, "");
  EXPECT_TRUE(found->metadata.empty());
  EXPECT_FALSE(found->retry_after.has_value());
}

TEST(ErrorTest, OtherStatusesHaveNoDetails) {
  EXPECT_FALSE(DetailOf(absl::OkStatus()).has_value());
  EXPECT_FALSE(DetailOf(absl::InternalError("a bug")).has_value());
}

TEST(ErrorTest, AnInvalidFieldBeginsItsText) {
  const absl::Status status =
      InvalidField("x.shape", "BAD_TENSOR", "expected 2, got 3");
  EXPECT_EQ(status.message(), "x.shape: expected 2, got 3");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(status, HasReason("BAD_TENSOR"));
  EXPECT_THAT(status, HasField("x.shape"));
}

}  // namespace
}  // namespace batchnorm::session
