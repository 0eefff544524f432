#include "server/session/config.h"

#include <functional>
#include <limits>

#include "server/session/config_difference.h"
#include "tests/matchers.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

SessionConfig Valid() {
  SessionConfig config;
  config.channels = 4;
  return config;
}

struct Change {
  std::function<void(SessionConfig&)> apply;
  std::string field;
  std::string text;
};

TEST(ConfigTest, DefaultsWithChannelsAreValid) {
  EXPECT_THAT(Validate(Valid()), IsOk());
}

TEST(ConfigTest, UnusualNumbersAreLegal) {
  const Change changes[] = {
      {[](auto& c) { c.channels = kMaxChannels; }, "", ""},
      {[](auto& c) { c.normalization.eps = 0; }, "", ""},
      {[](auto& c) { c.normalization.eps = 1e300; }, "", ""},
      {[](auto& c) { c.normalization.new_weight = -1.2; }, "", ""},
      {[](auto& c) { c.normalization.new_weight = 1e9; }, "", ""},
      {[](auto& c) { c.normalization.new_weight.reset(); }, "", ""},
      {[](auto& c) { c.normalization.channel_axes = {-8, 0, 7}; }, "", ""},
      {[](auto& c) { c.step_window = 256; }, "", ""},
  };
  for (const Change& change : changes) {
    SessionConfig config = Valid();
    change.apply(config);
    EXPECT_THAT(Validate(config), IsOk());
  }
}

TEST(ConfigTest, EachBadFieldIsNamedWithWhatCame) {
  const Change changes[] = {
      {[](auto& c) { c.channels = 0; }, "config.channels", "got 0"},
      {[](auto& c) { c.channels = -7; }, "config.channels", "got -7"},
      {[](auto& c) { c.channels = kMaxChannels + 1; }, "config.channels",
       "expected 1 to 1048576, got 1048577"},
      {[](auto& c) { c.normalization.eps = -1e-5; }, "config.normalization.eps",
       "at least 0, got -1e-05"},
      {[](auto& c) { c.normalization.eps = kInf; }, "config.normalization.eps",
       "got inf"},
      {[](auto& c) { c.normalization.eps = kNan; }, "config.normalization.eps",
       "got nan"},
      {[](auto& c) { c.normalization.new_weight = kNan; },
       "config.normalization.new_weight", "got nan"},
      {[](auto& c) { c.normalization.running_ddof = 2; },
       "config.normalization.running_ddof", "expected 0 or 1, got 2"},
      {[](auto& c) { c.step_window = 0; }, "config.step_window", "got 0"},
      {[](auto& c) { c.step_window = 257; }, "config.step_window",
       "expected 1 to 256, got 257"},
      {[](auto& c) { c.world_size = 0; }, "config.world_size", "got 0"},
  };
  for (const Change& change : changes) {
    SessionConfig config = Valid();
    change.apply(config);
    const absl::Status status = Validate(config);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(status, HasReason("BAD_CONFIG"));
    EXPECT_THAT(status, HasField(change.field));
    EXPECT_THAT(status, HasText(change.text));
  }
}

TEST(ConfigTest, ChannelAxesAreASetOfPossibleAxes) {
  using Axes = std::vector<std::int32_t>;
  for (const Axes& axes : {Axes{}, Axes{1, 1}, Axes{8}, Axes{-9}}) {
    SessionConfig config = Valid();
    config.normalization.channel_axes = axes;
    const absl::Status status = Validate(config);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(status, HasReason("BAD_CHANNEL_AXES"));
    EXPECT_THAT(status, HasField("config.normalization.channel_axes"));
  }
}

TEST(ConfigTest, AWorldHas1To4096Ranks) {
  SessionConfig config = Valid();
  for (const std::uint32_t fine : {1u, 2u, 4096u}) {
    config.world_size = fine;
    EXPECT_THAT(Validate(config), IsOk());
  }
  for (const std::uint32_t bad : {0u, 4097u}) {
    config.world_size = bad;
    const absl::Status status = Validate(config);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(status, HasReason("BAD_CONFIG"));
    EXPECT_THAT(status, HasField("config.world_size"));
  }
}

TEST(ConfigTest, APrefixIsPutBeforeTheField) {
  Normalization normalization;
  normalization.eps = -1;
  EXPECT_THAT(Validate(normalization, "normalization."),
              HasField("normalization.eps"));
}

TEST(ConfigTest, EqualConfigurationsDoNotDiffer) {
  EXPECT_FALSE(FindDifference(Valid(), Valid()).has_value());
}

TEST(ConfigTest, EachFieldThatDiffersIsNamedWithBothValues) {
  const std::string constants = "config.normalization.";
  const Change changes[] = {
      {[](auto& c) { c.channels = 5; }, "config.channels", "5"},
      {[](auto& c) { c.normalization.channel_axes = {-1, 2}; },
       constants + "channel_axes", "[-1,2]"},
      {[](auto& c) { c.normalization.eps = 1.0000000000000003e-5; },
       constants + "eps", "1.0000000000000003e-05"},
      {[](auto& c) { c.normalization.new_weight.reset(); },
       constants + "new_weight", "cumulative"},
      {[](auto& c) { c.normalization.running_ddof = 0; },
       constants + "running_ddof", "0"},
      {[](auto& c) {
         c.normalization.degenerate_policy = DegeneratePolicy::kIeee;
       },
       constants + "degenerate_policy", "IEEE"},
      {[](auto& c) { c.world_size = 3; }, "config.world_size", "3"},
      {[](auto& c) { c.step_window = 9; }, "config.step_window", "9"},
      {[](auto& c) { c.gradient_reduction = GradientReduction::kMean; },
       "config.gradient_reduction", "MEAN"},
      {[](auto& c) { c.kept_input_policy = KeptInputPolicy::kDiscard; },
       "config.kept_input_policy", "DISCARD"},
      {[](auto& c) { c.non_finite_policy = NonFinitePolicy::kPropagate; },
       "config.non_finite_policy", "PROPAGATE"},
  };
  for (const Change& change : changes) {
    SessionConfig changed = Valid();
    change.apply(changed);
    ASSERT_NE(changed, Valid());
    const auto difference = FindDifference(Valid(), changed);
    ASSERT_TRUE(difference.has_value()) << change.field;
    EXPECT_EQ(difference->field, change.field);
    EXPECT_EQ(difference->second, change.text);
    EXPECT_NE(difference->first, difference->second);
  }
}

}  // namespace
}  // namespace batchnorm::session
