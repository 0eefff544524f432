// What is printed: tables, CSV, JSON numbers, errors, suggestions.
#include "client/cli/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/diagnosis.h"
#include "client/cli/error_report.h"
#include "client/cli/session_view.h"
#include "client/cli/suggestion.h"
#include "client/cli/tensor_role.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/status_codec.h"

namespace batchnorm::cli {
namespace {

using ::testing::HasSubstr;

TEST(TableTest, AlignsColumnsAndEndsLinesWithoutSpaces) {
  Table table({"name", ">count", "note"});
  table.AddRow({std::string("a"), std::string("1"), std::string("")});
  table.AddRow({std::string("long"), std::string("100"), std::string("x")});
  EXPECT_EQ(table.AsText(false),
            "NAME  COUNT  NOTE\n"
            "a         1\n"
            "long    100  x\n");
}

TEST(TableTest, CountsCharactersAndNotBytes) {
  Table table({"spark", "n"});
  table.AddRow({std::string("▁█"), std::string("1")});
  EXPECT_EQ(table.AsText(false), "SPARK  N\n▁█     1\n");
}

TEST(TableTest, ColoursOnlyWhereAsked) {
  Table table({"result"});
  table.AddRow({Cell("FAIL", Style::kBad)});
  EXPECT_EQ(table.AsText(false), "RESULT\nFAIL\n");
  EXPECT_THAT(table.AsText(true), HasSubstr("\x1b[31;1mFAIL\x1b[0m"));
}

TEST(TableTest, CsvHasExactNumbersAndQuotesWhatNeedsIt) {
  Table table({"name", ">value"});
  table.AddRow({std::string("a,\"b\""), Cell(1.0 / 3)});
  EXPECT_EQ(table.AsCsv(), "name,value\n\"a,\"\"b\"\"\",0.3333333333333333\n");
}

TEST(JsonNumberTest, NumbersReadBackTheSame) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308}) {
    const std::string text = JsonNumber(value).dump();
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
}

TEST(JsonNumberTest, WhatJsonCannotSayIsAString) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(JsonNumber(kInfinity).dump(), "\"Infinity\"");
  EXPECT_EQ(JsonNumber(-kInfinity).dump(), "\"-Infinity\"");
  EXPECT_EQ(JsonNumber(-std::numeric_limits<double>::quiet_NaN()).dump(),
            "\"NaN\"");
}

TEST(ExactTextTest, IsShortestInTheTypeOfTheNumber) {
  EXPECT_EQ(ExactText(0.1F, Dtype::kF32), "0.1");
  EXPECT_EQ(ExactText(0.1F, Dtype::kF64), "0.10000000149011612");
  EXPECT_EQ(ExactText(-std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(RenderTest, ErrorsHaveUpToThreeLines) {
  EXPECT_EQ(Render({"what", "cause", "try"}),
            "error: what\nwhy:   cause\nhint:  try\n");
  EXPECT_EQ(Render({"what", "", ""}), "error: what\n");
}

TEST(ExitCodeTest, LocalErrorsAreTwoAndTheServersSixtyFourPlusItsCode) {
  EXPECT_EQ(ExitCodeOf(ToStatus({"a file", "", ""})), 2);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 64 + 3);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 64 + 5);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 64 + 14);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), 64 + 15);
}

TEST(ExplainTest, NobodyThereMeansStartAServer) {
  const Diagnosis diagnosis =
      Explain(absl::UnavailableError("connection refused"), "host:1");
  EXPECT_EQ(diagnosis.error, "no server at host:1 (UNAVAILABLE)");
  EXPECT_EQ(diagnosis.why, "connection refused");
  EXPECT_THAT(diagnosis.hint, HasSubstr("batchnormd"));
}

TEST(ExplainTest, OtherErrorsKeepTheServersWordsAndCode) {
  EXPECT_EQ(Explain(absl::InternalError("broken"), "").error,
            "broken (INTERNAL)");
  EXPECT_THAT(Explain(absl::DeadlineExceededError("late"), "").hint,
              HasSubstr("--timeout"));
}

TEST(ExplainTest, EveryReasonOfAGroupHasAHint) {
  for (const char* reason :
       {"RANK_MISSING", "RANK_REFUSED", "RANK_LEFT", "GROUP_CHANGED",
        "CALL_REPLACED", "NEW_WEIGHT_DIFFERS", "BAD_PASS", "BAD_SUMS",
        "BAD_JOB", "OTHER_JOB", "BAD_RANK", "STEP_MOVED"}) {
    const absl::Status status = wire::FromGrpcStatus(wire::ToGrpcStatus(
        absl::AbortedError("as told"), wire::ErrorDetail{.reason = reason}));
    EXPECT_FALSE(Explain(status, "host:1").hint.empty()) << reason;
  }
}

TEST(SuggestTest, FindsTheNearestWord) {
  const std::vector<std::string> words = {"eval", "compare", "session"};
  EXPECT_EQ(Suggest("sesion", words), "session");
  EXPECT_EQ(Suggest("comprae", words), "compare");
  EXPECT_EQ(Suggest("evla", words), "eval");
}

TEST(SuggestTest, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(Suggest("train", std::vector<std::string>{"eval"}), std::nullopt);
  EXPECT_EQ(Suggest("train", std::vector<std::string>{}), std::nullopt);
}

TEST(EditDistanceTest, CountsTheChanges) {
  EXPECT_EQ(EditDistance("", "abc"), 3U);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3U);
  EXPECT_EQ(EditDistance("ab", "ba"), 1U);
  EXPECT_EQ(EditDistance("same", "same"), 0U);
}

TEST(RoleTest, FrameworksNamesMeanTheSame) {
  EXPECT_EQ(RoleOf("weight"), Role::kGamma);
  EXPECT_EQ(RoleOf("bias"), Role::kBeta);
  EXPECT_EQ(RoleOf("save_mean"), Role::kMean);
  EXPECT_EQ(RoleOf("save_invstd"), Role::kInvStd);
  EXPECT_EQ(RoleOf("dweight"), Role::kDgamma);
  EXPECT_EQ(RoleOf("dbias"), Role::kDbeta);
  EXPECT_EQ(RoleOf("Weight"), std::nullopt);
}

TEST(RoleTest, ARolesNameMeansIt) {
  for (const Role role : ResultRoles()) EXPECT_EQ(RoleOf(NameOf(role)), role);
  for (const Role role : InputRoles()) EXPECT_EQ(RoleOf(NameOf(role)), role);
}

TEST(SessionViewTest, JsonHasEverythingWithExactNumbers) {
  client::SessionInfo session;
  session.name = "a/b";
  session.config.channels = 2;
  session.config.normalization.new_weight = std::nullopt;
  session.last_step = 7;
  session.running_statistics = client::RunningStatistics{{0.1, 0.2}, {1, 2}, 7};
  const auto json = JsonOf(session);
  EXPECT_EQ(json["name"], "a/b");
  EXPECT_EQ(json["config"]["channels"], 2);
  EXPECT_EQ(json["config"]["cumulative"], true);
  EXPECT_FALSE(json["config"].contains("new_weight"));
  EXPECT_EQ(json["last_step"], 7);
  EXPECT_EQ(json["running_statistics"]["mean"][1], 0.2);
  EXPECT_EQ(json["running_statistics"]["batch_count"], 7);
}

// Three ranks: one has joined, one was seen, of one nothing is known.
client::SessionInfo Group() {
  client::SessionInfo session;
  session.config.world_size = 3;
  session.last_step = 12;
  session.group =
      client::GroupInfo{.ranks = {{.rank = 0,
                                   .job = "run-7",
                                   .seen_ago = absl::Milliseconds(250),
                                   .last_wait = absl::Milliseconds(12)},
                                  {.rank = 2, .seen_ago = absl::Seconds(90)}},
                        .barriers = {{.step = 13,
                                      .phase = client::GroupPhase::kBackward,
                                      .pass = 1,
                                      .attempt = 4,
                                      .age = absl::Seconds(3),
                                      .present_ranks = {0},
                                      .missing_ranks = {1, 2}}}};
  return session;
}

TEST(SessionViewTest, AGroupShowsWhoIsThereWhoIsNotAndWhoWaits) {
  const std::string text = SessionDetails(Group(), false).AsText(false);
  EXPECT_THAT(text, HasSubstr("joined (run-7), seen 0.25 s ago, waited 0.012"));
  EXPECT_THAT(text, HasSubstr("not joined, seen 90 s ago"));
  EXPECT_THAT(text, HasSubstr("not joined    1, 2\n"));
  EXPECT_THAT(text, HasSubstr("backward of step 13, pass 1, attempt 4, for 3 s:"
                              " present 0; missing 1, 2"));
}

TEST(SessionViewTest, AGroupIsTheSameInCsv) {
  const std::string csv = SessionDetails(Group(), false).AsCsv();
  EXPECT_THAT(csv, HasSubstr("rank 0,\"joined (run-7), seen 0.25 s ago"));
  EXPECT_THAT(csv, HasSubstr("not joined,\"1, 2\"\n"));
}

TEST(SessionViewTest, AGroupsJsonHasNumbersInSeconds) {
  const auto group = JsonOf(Group())["group"];
  EXPECT_EQ(group["ranks"][0]["job"], "run-7");
  EXPECT_EQ(group["ranks"][0]["seen_ago_seconds"], 0.25);
  EXPECT_EQ(group["ranks"][0]["last_wait_seconds"], 0.012);
  EXPECT_EQ(group["ranks"][1]["joined"], false);
  EXPECT_EQ(group["missing_ranks"], nlohmann::json({1, 2}));
  EXPECT_EQ(group["barriers"][0]["phase"], "backward");
  EXPECT_EQ(group["barriers"][0]["age_seconds"], 3);
  EXPECT_EQ(group["barriers"][0]["missing_ranks"], nlohmann::json({1, 2}));
}

TEST(SessionViewTest, OneRankHasNoGroup) {
  EXPECT_FALSE(JsonOf(client::SessionInfo())["group"].is_object());
}

}  // namespace
}  // namespace batchnorm::cli
