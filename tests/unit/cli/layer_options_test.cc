// The constants of a layer from flags.
#include "client/cli/layer_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;

client::Normalization ConstantsOf(const LayerOptions& options) {
  const auto result = NormalizationOf(options);
  EXPECT_THAT(result, IsOk());
  return result.ok() ? result->normalization : client::Normalization();
}

TEST(LayerOptionsTest, WithoutFlagsTheServicesDefaultsHold) {
  EXPECT_EQ(ConstantsOf({}), client::Normalization());
}

TEST(LayerOptionsTest, MomentumIsReadInThePresetsSense) {
  EXPECT_EQ(ConstantsOf({.preset = "torch", .momentum = 0.25}).new_weight,
            0.25);
  EXPECT_EQ(ConstantsOf({.preset = "keras", .momentum = 0.75}).new_weight,
            0.25);
}

TEST(LayerOptionsTest, APresetSetsTheEstimatorTheEpsAndTheAxis) {
  const auto keras = ConstantsOf({.preset = "keras"});
  EXPECT_EQ(keras.running_ddof, 0U);
  EXPECT_EQ(keras.eps, 1e-3);
  EXPECT_THAT(keras.channel_axes, ElementsAre(-1));
}

TEST(LayerOptionsTest, FlagsGoBeforeThePreset) {
  const auto constants = ConstantsOf({.preset = "keras",
                                      .eps = 0.5,
                                      .new_weight = 2.0,
                                      .ddof = 1,
                                      .axes = "1",
                                      .degenerate = "unit"});
  EXPECT_EQ(constants.eps, 0.5);
  EXPECT_EQ(constants.new_weight, 2.0);
  EXPECT_EQ(constants.running_ddof, 1U);
  EXPECT_THAT(constants.channel_axes, ElementsAre(1));
  EXPECT_EQ(constants.degenerate_policy,
            client::DegeneratePolicy::kUnitCorrection);
}

TEST(LayerOptionsTest, CumulativeHasNoWeight) {
  EXPECT_EQ(ConstantsOf({.cumulative = true}).new_weight, std::nullopt);
  EXPECT_EQ(ConstantsOf({.preset = "torch", .cumulative = true}).new_weight,
            std::nullopt);
}

TEST(LayerOptionsTest, AxesAreAList) {
  EXPECT_THAT(ConstantsOf({.axes = "0,2"}).channel_axes, ElementsAre(0, 2));
  EXPECT_THAT(ConstantsOf({.axes = "-1"}).channel_axes, ElementsAre(-1));
  EXPECT_THAT(NormalizationOf({.axes = "one"}), HasText("--axis 'one'"));
  EXPECT_THAT(NormalizationOf({.axes = "1,,2"}), HasText("--axis '1,,2'"));
}

TEST(LayerOptionsTest, MomentumAloneIsAmbiguous) {
  EXPECT_THAT(NormalizationOf({.momentum = 0.1}),
              HasText("--momentum without --preset"));
}

TEST(LayerOptionsTest, ContradictionsAreRefused) {
  EXPECT_THAT(
      NormalizationOf({.preset = "torch", .momentum = 0.1, .new_weight = 0.1}),
      HasText("--momentum and --new-weight"));
  EXPECT_THAT(NormalizationOf({.new_weight = 0.1, .cumulative = true}),
              HasText("--cumulative and --new-weight"));
  EXPECT_THAT(NormalizationOf({.preset = "keras", .cumulative = true}),
              HasText("--preset keras"));
}

TEST(LayerOptionsTest, AChangedEpsIsTold) {
  const auto result = NormalizationOf({.preset = "tf_fused", .eps = 1e-6});
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->notes.size(), 1U);
}

}  // namespace
}  // namespace batchnorm::cli
