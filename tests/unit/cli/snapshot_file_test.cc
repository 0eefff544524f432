// Sessions in files: all of one comes back, and damage is said, not believed.
#include "client/cli/snapshot_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "client/cli/config_json.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

using ::testing::HasSubstr;

client::SessionSnapshot Full() {
  client::SessionSnapshot snapshot;
  snapshot.config.channels = 3;
  snapshot.config.normalization = {
      .channel_axes = {0, -1},
      .eps = 0.1,
      .new_weight = -1.0 / 3,
      .running_ddof = 0,
      .degenerate_policy = client::DegeneratePolicy::kIeee};
  snapshot.config.step_window = 256;
  snapshot.config.gradient_reduction = client::GradientReduction::kMean;
  snapshot.config.kept_input_policy = client::KeptInputPolicy::kDiscard;
  snapshot.config.non_finite_policy = client::NonFinitePolicy::kPropagate;
  snapshot.last_step = std::numeric_limits<std::uint64_t>::max();
  snapshot.running_statistics = {.mean = {-0.0, 5e-324, 1e300},
                                 .var = {0.1, 1, 2},
                                 .batch_count = 1'000'000'007};
  snapshot.checksum = 0xFEDCBA9876543210;
  return snapshot;
}

class SnapshotFileTest : public ::testing::TestWithParam<FileFormat> {
 protected:
  static std::string Encoded() {
    const auto bytes = EncodeSnapshot(Full(), GetParam());
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return *bytes;
  }
};

TEST_P(SnapshotFileTest, EverythingComesBack) {
  const auto loaded = ParseSnapshot(Encoded(), GetParam(), "");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const client::SessionSnapshot full = Full();
  EXPECT_TRUE(loaded->is_ours);
  EXPECT_TRUE(loaded->notes.empty());
  EXPECT_EQ(loaded->snapshot.config, full.config);
  EXPECT_EQ(loaded->snapshot.last_step, full.last_step);
  EXPECT_EQ(loaded->snapshot.checksum, full.checksum);
  const client::RunningStatistics& running =
      loaded->snapshot.running_statistics;
  EXPECT_TRUE(std::signbit(running.mean[0]));
  EXPECT_EQ(running.mean, full.running_statistics.mean);
  EXPECT_EQ(running.var, full.running_statistics.var);
  EXPECT_EQ(running.batch_count, full.running_statistics.batch_count);
}

TEST_P(SnapshotFileTest, TheSameSnapshotIsTheSameBytes) {
  EXPECT_EQ(Encoded(), Encoded());
}

TEST_P(SnapshotFileTest, EachCutIsRefused) {
  const std::string bytes = Encoded();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseSnapshot(bytes.substr(0, size), GetParam(), "").ok())
        << size;
  }
}

// Whatever a flipped byte does, it is a diagnosis or a snapshot: the server
// compares the checksum.
TEST_P(SnapshotFileTest, EachFlippedByteIsSurvived) {
  const std::string bytes = Encoded();
  std::minstd_rand random(1);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 + random() % 255));
    const auto loaded = ParseSnapshot(damaged, GetParam(), "");
    if (loaded.ok()) continue;
    const auto diagnosis = DiagnosisOf(loaded.status());
    ASSERT_TRUE(diagnosis.has_value()) << i << ": " << loaded.status();
    EXPECT_FALSE(diagnosis->error.empty());
  }
}

TEST_P(SnapshotFileTest, AnUnknownLayerIsNamedBesideThoseThereAre) {
  const auto loaded = ParseSnapshot(Encoded(), GetParam(), "bn7");
  ASSERT_FALSE(loaded.ok());
  EXPECT_THAT(DiagnosisOf(loaded.status())->error, HasSubstr("bn7"));
}

INSTANTIATE_TEST_SUITE_P(Formats, SnapshotFileTest,
                         ::testing::Values(FileFormat::kSafetensors,
                                           FileFormat::kNpz),
                         [](const auto& format) {
                           return format.param == FileFormat::kNpz
                                      ? "Npz"
                                      : "Safetensors";
                         });

TEST(SnapshotFormatTest, IsTheSuffixesAndSafetensorsForAPipe) {
  EXPECT_EQ(*SnapshotFormat("a/b.npz"), FileFormat::kNpz);
  EXPECT_EQ(*SnapshotFormat("b.safetensors"), FileFormat::kSafetensors);
  EXPECT_EQ(*SnapshotFormat("-"), FileFormat::kSafetensors);
  for (const char* path : {"b.npy", "b.csv", "b", "b.pt"}) {
    EXPECT_FALSE(SnapshotFormat(path).ok()) << path;
  }
}

TEST(ConfigJsonTest, WhatIsMissingOrUnknownIsADiagnosis) {
  const std::string whole = JsonOf(Full().config).dump();
  ASSERT_TRUE(ParseConfig(whole).ok());
  auto json = nlohmann::json::parse(whole);
  for (const auto& [key, value] : json.items()) {
    auto less = json;
    less.erase(key);
    EXPECT_FALSE(ParseConfig(less.dump()).ok()) << key;
  }
  json["degenerate_policy"] = "hope";
  const auto unknown = ParseConfig(json.dump());
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(DiagnosisOf(unknown.status())->why, HasSubstr("hope"));
}

}  // namespace
}  // namespace batchnorm::cli
