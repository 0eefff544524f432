#include "server/access/reloaded.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace batchnorm::access {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A file that tests write.
class ReloadedTest : public testing::Test {
 protected:
  absl::StatusOr<std::string> file_ = "first";
  std::vector<std::string> reports_;
  Reloaded<std::string> value_{
      "first", [this] { return file_; },
      [this](const absl::Status& status) {
        reports_.push_back(status.ok() ? "new" : std::string(status.message()));
      }};
};

TEST_F(ReloadedTest, NothingHappensWhileTheFileIsTheSame) {
  for (int i = 0; i < 3; ++i) value_.Tick();
  EXPECT_EQ(*value_.value(), "first");
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(ReloadedTest, ANewFileIsInForceAtOnceAndToldOnce) {
  file_ = "second";
  for (int i = 0; i < 3; ++i) value_.Tick();
  EXPECT_EQ(*value_.value(), "second");
  EXPECT_THAT(reports_, ElementsAre("new"));
  EXPECT_EQ(value_.counts().done, 1);
}

TEST_F(ReloadedTest, WhoHoldsTheOldValueKeepsIt) {
  const auto held = value_.value();
  file_ = "second";
  value_.Tick();
  EXPECT_EQ(*held, "first");
}

TEST_F(ReloadedTest, DamageThatStaysIsToldOnceAndReplacesNothing) {
  file_ = absl::InvalidArgumentError("damaged");
  for (int i = 0; i < 5; ++i) value_.Tick();
  EXPECT_EQ(*value_.value(), "first");
  EXPECT_THAT(reports_, ElementsAre("damaged"));
  EXPECT_EQ(value_.counts().failed, 1);
}

TEST_F(ReloadedTest, DamageOfAMomentIsNotTold) {
  file_ = absl::InvalidArgumentError("half written");
  value_.Tick();
  file_ = "second";
  value_.Tick();
  EXPECT_EQ(*value_.value(), "second");
  EXPECT_THAT(reports_, ElementsAre("new"));
  EXPECT_EQ(value_.counts().failed, 0);
}

TEST_F(ReloadedTest, AnotherDamageIsToldToo) {
  for (const char* const damage : {"one", "one", "two", "two", "two"}) {
    file_ = absl::InvalidArgumentError(damage);
    value_.Tick();
  }
  EXPECT_THAT(reports_, ElementsAre("one", "two"));
}

}  // namespace
}  // namespace batchnorm::access
