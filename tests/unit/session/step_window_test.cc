#include "server/session/step_window.h"

#include <gtest/gtest.h>

#include "tests/matchers.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;
using Place = StepWindow::Place;

// A window of 3 after 5 steps: it holds 3, 4 and 5.
class StepWindowTest : public ::testing::Test {
 protected:
  StepWindowTest() {
    for (std::uint64_t step = 1; step <= 5; ++step) {
      window_.MakeRoom();
      StepRecord record;
      record.fingerprint.input = {step, 0};
      window_.Take(std::move(record));
    }
  }

  StepWindow window_{3};
};

TEST_F(StepWindowTest, TheFirstStepIsOne) {
  const StepWindow window(3);
  EXPECT_EQ(window.last_step(), 0u);
  EXPECT_EQ(*window.PlaceForward(1), Place::kNext);
  EXPECT_THAT(window.PlaceForward(2), HasReason("STEP_GAP"));
}

TEST_F(StepWindowTest, TheNextStepAndZeroAreNext) {
  EXPECT_EQ(*window_.PlaceForward(6), Place::kNext);
  EXPECT_EQ(*window_.PlaceForward(0), Place::kNext);
}

TEST_F(StepWindowTest, StepsOfTheWindowAreTaken) {
  for (const std::uint64_t step : {3u, 4u, 5u}) {
    EXPECT_EQ(*window_.PlaceForward(step), Place::kTaken);
    EXPECT_EQ(window_.Find(step)->fingerprint.input.high, step);
  }
}

TEST_F(StepWindowTest, AStepBeyondTheNextIsAGapThatNamesTheExpectedOne) {
  const absl::Status status = window_.PlaceForward(7).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(status, HasReason("STEP_GAP"));
  EXPECT_THAT(status, HasField("step"));
  EXPECT_THAT(status, HasMetadata("last_step", "5"));
  EXPECT_THAT(status, HasMetadata("expected_step", "6"));
  EXPECT_THAT(status, HasText("expected 6"));
  EXPECT_THAT(status, HasText("got 7"));
}

TEST_F(StepWindowTest, AStepBeforeTheWindowIsTooOld) {
  const absl::Status status = window_.PlaceForward(2).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(status, HasReason("STEP_TOO_OLD"));
  EXPECT_THAT(status, HasMetadata("oldest_step", "3"));
  EXPECT_THAT(status, HasText("window 3"));
  EXPECT_EQ(window_.Find(2), nullptr);
}

TEST_F(StepWindowTest, AcknowledgedBeyondTheLastIsDataLoss) {
  EXPECT_THAT(window_.CheckAcknowledged(5), IsOk());
  const absl::Status status = window_.CheckAcknowledged(57);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(status, HasReason("STEPS_LOST"));
  EXPECT_THAT(status, HasMetadata("last_step", "5"));
  EXPECT_THAT(status, HasMetadata("acknowledged_step", "57"));
}

TEST_F(StepWindowTest, OnlyStepsUpToTheLastWereTaken) {
  EXPECT_THAT(window_.CheckTaken(1), IsOk());
  EXPECT_THAT(window_.CheckTaken(5), IsOk());
  const absl::Status status = window_.CheckTaken(6);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(status, HasReason("STEP_GAP"));
}

TEST_F(StepWindowTest, ClearedItKnowsItsLastStepAndNoRecord) {
  EXPECT_EQ(window_.Clear().size(), 3u);
  EXPECT_EQ(window_.last_step(), 5u);
  EXPECT_EQ(window_.Find(5), nullptr);
  EXPECT_THAT(window_.PlaceForward(5), HasReason("STEP_TOO_OLD"));
  EXPECT_EQ(*window_.PlaceForward(6), Place::kNext);
}

}  // namespace
}  // namespace batchnorm::session
