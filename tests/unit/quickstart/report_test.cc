#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "client/cli/demo_report.h"

namespace batchnorm::cli {
namespace {

using ::testing::HasSubstr;

TrainingReport Report() {
  TrainingReport report;
  report.epochs = {{.epoch = 1, .loss = 0.75, .accuracy = 0.5},
                   {.epoch = 2, .loss = 0.1, .accuracy = 0.98}};
  report.layers = {
      {.name = "demo/x/bn1",
       .sent = {.forwards = 23, .inferences = 2, .backwards = 21},
       .received =
           {.forwards = 24, .inferences = 3, .backwards = 22, .replays = 1},
       .running = {.mean = {1, 2, 4}, .var = {0.5, NAN, 2}, .batch_count = 7}}};
  report.held_out_digits = 359;
  return report;
}

TEST(DemoReportTest, ShowsTheServersCountsBesideTheClients) {
  const std::string table = CallTable(Report());
  EXPECT_THAT(table, HasSubstr("  bn1  sent from here           23          2"
                               "        21         0\n"));
  EXPECT_THAT(table, HasSubstr("       counted by server        24          3"
                               "        22         1\n"));
}

TEST(DemoReportTest, ShowsMinMedianMax) {
  EXPECT_THAT(StatisticsTable(Report()),
              HasSubstr("mean      1.0000    2.0000    4.0000  ▁▃█\n"));
}

TEST(DemoReportTest, SaysPassOrFail) {
  TrainingReport report = Report();
  EXPECT_THAT(AccuracyLine(report), HasSubstr("PASS"));
  report.epochs.back().accuracy = 0.9699;
  EXPECT_THAT(AccuracyLine(report), HasSubstr("FAIL"));

  const GradientErrors wrong = {.dx = {.elements = 6, .relative = 1e-7}};
  const std::string table = GradientTable({}, wrong);
  EXPECT_THAT(table, HasSubstr("dx           6 elements   max rel 1.0e-07   "
                               "FAIL\n"));
  EXPECT_THAT(table, HasSubstr("PASS"));
}

TEST(DemoReportTest, JsonHoldsEveryNumberExactly) {
  const GradientErrors errors = {.dx = {.elements = 6, .relative = 1e-12},
                                 .evaluations = 265};
  const auto json = nlohmann::json::parse(DemoJson(Report(), errors));
  EXPECT_EQ(json["pass"], true);
  EXPECT_EQ(json["epochs"][1]["loss"], 0.1);
  EXPECT_EQ(json["held_out_accuracy"], 0.98);
  EXPECT_EQ(json["layers"][0]["received"]["replays"], 1);
  EXPECT_EQ(json["layers"][0]["running_mean"][2], 4.0);
  EXPECT_EQ(json["layers"][0]["running_var"][1], "NaN");
  EXPECT_EQ(json["gradients"]["dx"]["max_relative"], 1e-12);
  EXPECT_EQ(json["gradients"]["evaluations"], 265);
}

TEST(DemoReportTest, JsonDoesNotPassWithAWrongGradient) {
  const GradientErrors errors = {.dbeta = {.elements = 1, .relative = 1}};
  EXPECT_EQ(nlohmann::json::parse(DemoJson(Report(), errors))["pass"], false);
}

TEST(DemoReportTest, CsvHasARowAnEpoch) {
  EXPECT_EQ(DemoCsv(Report()),
            "epoch,loss,held_out_accuracy\n1,0.75,0.5\n2,0.1,0.98\n");
}

}  // namespace
}  // namespace batchnorm::cli
