// The conventions of each framework, as its own documentation and source give
// them; see the table in client/presets.h.
#include "client/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What a framework's layer does when it is given nothing. Those that give a
// weight to the old average compute 1 - momentum in doubles too.
struct Expected {
  const char* framework;
  double new_weight;
  std::uint32_t running_ddof;
  double eps;
  std::int32_t channel_axis;
  DegeneratePolicy policy;
};

class PresetDefaults : public ::testing::TestWithParam<Expected> {};

TEST_P(PresetDefaults, AreTheFrameworks) {
  const auto preset = Preset(GetParam().framework);
  ASSERT_THAT(preset, IsOk());
  const Normalization& normalization = preset->normalization;
  ASSERT_TRUE(normalization.new_weight.has_value());
  EXPECT_EQ(*normalization.new_weight, GetParam().new_weight);
  EXPECT_EQ(normalization.running_ddof, GetParam().running_ddof);
  EXPECT_EQ(normalization.eps, GetParam().eps);
  EXPECT_THAT(normalization.channel_axes, ElementsAre(GetParam().channel_axis));
  EXPECT_EQ(normalization.degenerate_policy, GetParam().policy);
}

INSTANTIATE_TEST_SUITE_P(
    Presets, PresetDefaults,
    ::testing::Values(
        Expected{"torch", 0.1, 1, 1e-5, 1, DegeneratePolicy::kReject},
        Expected{"keras", 1 - 0.99, 0, 1e-3, -1, DegeneratePolicy::kIeee},
        Expected{"tf_fused", 1 - 0.99, 1, 1e-3, -1,
                 DegeneratePolicy::kUnitCorrection},
        Expected{"flax", 1 - 0.99, 0, 1e-5, -1, DegeneratePolicy::kIeee},
        Expected{"onnx", 1 - 0.9, 0, 1e-5, 1, DegeneratePolicy::kIeee},
        Expected{"cudnn", 0.1, 1, 1e-5, 1, DegeneratePolicy::kIeee},
        Expected{"miopen", 0.1, 1, 1e-5, 1, DegeneratePolicy::kUnitCorrection}),
    [](const auto& test) { return std::string(test.param.framework); });

TEST(Preset, NamesAreThoseItKnows) {
  EXPECT_THAT(PresetNames(), ElementsAre("torch", "keras", "tf_fused", "flax",
                                         "onnx", "cudnn", "miopen"));
}

TEST(Preset, MomentumIsTheFrameworksOwn) {
  const auto weight = [](const char* framework) {
    return Preset(framework, {.momentum = 0.75})->normalization.new_weight;
  };
  EXPECT_EQ(weight("torch"), 0.75);
  EXPECT_EQ(weight("cudnn"), 0.75);
  EXPECT_EQ(weight("miopen"), 0.75);
  EXPECT_EQ(weight("keras"), 0.25);
  EXPECT_EQ(weight("tf_fused"), 0.25);
  EXPECT_EQ(weight("flax"), 0.25);
  EXPECT_EQ(weight("onnx"), 0.25);
}

TEST(Preset, EpsAndAxisAreTakenAsGiven) {
  const auto preset = Preset("torch", {.eps = 0.0, .channel_axis = -1});
  ASSERT_THAT(preset, IsOk());
  EXPECT_EQ(preset->normalization.eps, 0);
  EXPECT_THAT(preset->normalization.channel_axes, ElementsAre(-1));
  EXPECT_THAT(preset->notes, IsEmpty());
}

TEST(Preset, TfFusedRaisesASmallEpsAndSaysSo) {
  const auto preset = Preset("tf_fused", {.eps = 1e-5});
  ASSERT_THAT(preset, IsOk());
  EXPECT_EQ(preset->normalization.eps, 1.001e-5);
  EXPECT_THAT(preset->notes, ElementsAre("tf_fused raises eps 1e-05 to "
                                         "1.001e-05"));
}

TEST(Preset, TfFusedKeepsALargerEps) {
  const auto preset = Preset("tf_fused", {.eps = 1.001e-5});
  ASSERT_THAT(preset, IsOk());
  EXPECT_EQ(preset->normalization.eps, 1.001e-5);
  EXPECT_THAT(preset->notes, IsEmpty());
}

TEST(Preset, AFactorThatTheFrameworkDoesNotHaveIsTold) {
  EXPECT_THAT(Preset("cudnn")->notes,
              ElementsAre("cudnn has no default factor: 0.1 is taken"));
  EXPECT_THAT(Preset("miopen", {.momentum = 0.1})->notes, IsEmpty());
}

TEST(Preset, TorchWithoutMomentumIsThePlainAverage) {
  const auto preset = Preset("torch", {.cumulative = true});
  ASSERT_THAT(preset, IsOk());
  EXPECT_EQ(preset->normalization.new_weight, std::nullopt);
}

TEST(Preset, ThePlainAverageIsTorchsAlone) {
  EXPECT_THAT(Preset("keras", {.cumulative = true}),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Preset("torch", {.momentum = 0.1, .cumulative = true}),
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST(Preset, AnUnknownNameIsToldTheKnownOnes) {
  const auto preset = Preset("caffe");
  EXPECT_THAT(preset, HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(std::string(preset.status().message()),
              HasSubstr("torch, keras, tf_fused, flax, onnx, cudnn, miopen; "
                        "got caffe"));
}

}  // namespace
}  // namespace batchnorm::client
