// Rows are what a restarted server reads: all of a session comes back, and
// nothing that was damaged does.
#include "server/session/session_row.h"

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/storage/store.h"
#include "tests/matchers.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;
using ::testing::ElementsAre;
using Code = absl::StatusCode;

constexpr char kName[] = "net/bn1";
constexpr storage::Version kExpected = {.incarnation = 77, .number = 4};

SessionRow FullRow() {
  SessionRow row;
  row.header.config.channels = 3;
  row.header.config.normalization.channel_axes = {1, 3};
  row.header.config.normalization.eps = 0;
  row.header.config.normalization.new_weight = std::nullopt;
  row.header.config.normalization.running_ddof = 0;
  row.header.config.normalization.degenerate_policy = DegeneratePolicy::kIeee;
  row.header.config.step_window = 2;
  row.header.config.gradient_reduction = GradientReduction::kMean;
  row.header.config.kept_input_policy = KeptInputPolicy::kDiscard;
  row.header.config.non_finite_policy = NonFinitePolicy::kPropagate;
  row.header.is_named = false;
  row.header.create_time = absl::FromUnixNanos(1'234'567'890'123'456'789);
  row.header.write_time = absl::FromUnixNanos(1'234'567'899'000'000'001);
  row.header.last_step = 41;
  row.running = {.mean = {-0.0, 1e300, 5e-324},
                 .var = {1, std::numeric_limits<double>::infinity(), 0},
                 .batch_count = 40};
  row.steps = {{{{1, 2}, {3, 4}}, nullptr}, {{{5, 6}, {7, 8}}, nullptr}};
  row.writers = Writers({{0, {.token = "t0", .nonce = std::string("\0n", 2)}},
                         {9, {.token = "t9", .nonce = ""}}});
  return row;
}

// Steps 40 and 41 of three ranks, the latter with two passes.
SessionRow GroupRow() {
  SessionRow row = FullRow();
  for (std::uint64_t i = 0; i < row.steps.size(); ++i) {
    GroupStep step;
    step.change = 10 + i;
    step.fingerprints = {{{i, 2}, {3, 4}}, {{5, 6}, {7, 8}}, {{9, 1}, {2, 3}}};
    step.batch = std::make_shared<const kernel::TrainBatch>(
        kernel::TrainBatch{kernel::ForwardSums(3, kernel::Dtype::kF32), {}});
    for (const std::uint32_t pass : {0u, 15u}) {
      if (i == 0) continue;
      const std::vector<double> numbers = {1, 2, 3.0 + pass};
      step.passes[pass] = std::make_shared<const GroupBackward>(GroupBackward{
          .change = 12 + pass,
          .digests = {{pass, 1}, {2, 3}, {4, 5}},
          .gradients = {numbers, numbers, numbers, numbers, numbers}});
    }
    row.steps[i].group = std::make_shared<const GroupStep>(std::move(step));
  }
  return row;
}

storage::Row Stored(const SessionRow& row) {
  storage::Write write = EncodeRow(row.header, row.running, row.steps,
                                   row.writers, kName, kExpected);
  return {.key = std::move(write.key),
          .version = {kExpected.incarnation, kExpected.number + 1},
          .header = std::move(write.header),
          .body = std::move(write.body),
          .parts = std::move(write.parts)};
}

void ExpectDamaged(const storage::Row& row) {
  const auto decoded = DecodeRow(row);
  ASSERT_THAT(decoded, StatusIs(Code::kDataLoss));
  EXPECT_THAT(decoded, HasReason("SESSION_DAMAGED"));
  EXPECT_THAT(decoded, HasMetadata("session", row.key));
}

TEST(SessionRowTest, EverythingComesBack) {
  const SessionRow row = FullRow();
  const auto back = DecodeRow(Stored(row));
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->header.config, row.header.config);
  EXPECT_FALSE(back->header.is_named);
  EXPECT_EQ(back->header.create_time, row.header.create_time);
  EXPECT_EQ(back->header.write_time, row.header.write_time);
  EXPECT_EQ(back->header.last_step, 41u);
  EXPECT_TRUE(std::signbit(back->running.mean[0]));
  EXPECT_EQ(back->running.mean, row.running.mean);
  EXPECT_EQ(back->running.var, row.running.var);
  EXPECT_EQ(back->running.batch_count, 40);
  ASSERT_EQ(back->steps.size(), row.steps.size());
  for (std::size_t i = 0; i < row.steps.size(); ++i) {
    EXPECT_EQ(back->steps[i].fingerprint, row.steps[i].fingerprint);
    EXPECT_EQ(back->steps[i].group, nullptr);
  }
  EXPECT_EQ(back->writers.by_rank(), row.writers.by_rank());
}

TEST(SessionRowTest, TheStepsOfAGroupComeBack) {
  const SessionRow row = GroupRow();
  const auto back = DecodeRow(Stored(row));
  ASSERT_THAT(back, IsOk());
  ASSERT_EQ(back->steps.size(), 2u);
  for (std::size_t i = 0; i < row.steps.size(); ++i) {
    ASSERT_NE(back->steps[i].group, nullptr);
    const GroupStep& step = *back->steps[i].group;
    const GroupStep& given = *row.steps[i].group;
    EXPECT_EQ(step.fingerprints, given.fingerprints);
    EXPECT_EQ(step.batch->sums.Serialize(), given.batch->sums.Serialize());
    ASSERT_EQ(step.passes.size(), given.passes.size());
    for (const auto& [pass, backward] : given.passes) {
      EXPECT_EQ(step.passes.at(pass)->digests, backward->digests);
      EXPECT_EQ(step.passes.at(pass)->gradients.k, backward->gradients.k);
    }
  }
}

TEST(SessionRowTest, WhatLastsOfAGroupIsNotWrittenAgain) {
  const SessionRow row = GroupRow();
  const auto numbers = [&row](std::uint64_t lasting) {
    std::vector<std::uint32_t> written;
    for (const storage::Part& part :
         EncodeRow(row.header, row.running, row.steps, row.writers, kName,
                   kExpected, lasting)
             .parts) {
      written.push_back(part.number);
    }
    return written;
  };
  // Step 40 is in the first of two places, step 41 in the second.
  EXPECT_THAT(numbers(0), ElementsAre(0, 17, 18, 33));
  EXPECT_THAT(numbers(10), ElementsAre(17, 18, 33));
  EXPECT_THAT(numbers(12), ElementsAre(33));
  EXPECT_THAT(numbers(27), ElementsAre());
}

TEST(SessionRowTest, AMissingOrDamagedPartIsNoticed) {
  const storage::Row row = Stored(GroupRow());
  ASSERT_EQ(row.parts.size(), 4u);
  for (std::size_t i = 0; i < row.parts.size(); ++i) {
    storage::Row missing = row;
    missing.parts.erase(missing.parts.begin() + static_cast<std::ptrdiff_t>(i));
    ExpectDamaged(missing);
    for (std::size_t at = 0; at < row.parts[i].bytes.size(); ++at) {
      storage::Row damaged = row;
      char& byte = damaged.parts[i].bytes[at];
      byte = static_cast<char>(byte ^ (1 << at % 8));
      EXPECT_FALSE(DecodeRow(damaged).ok()) << "part " << i << ", byte " << at;
    }
    storage::Row other = row;
    std::swap(other.parts[i].bytes, other.parts[(i + 1) % 4].bytes);
    ExpectDamaged(other);
  }
}

// As a step leaves it that has gone from the window since.
TEST(SessionRowTest, APartThatTheBodyDoesNotNameIsOfNoStep) {
  storage::Row row = Stored(GroupRow());
  row.parts.push_back({1, row.parts[2].bytes});
  const auto back = DecodeRow(row);
  ASSERT_THAT(back, IsOk());
  EXPECT_TRUE(back->steps[0].group->passes.empty());
}

TEST(SessionRowTest, APartOfAFormerStepIsNotTakenForALaterOnes) {
  storage::Row row = Stored(GroupRow());
  SessionRow former = GroupRow();
  former.header.last_step -= 2;
  row.parts[1] = Stored(former).parts[1];
  ExpectDamaged(row);
}

TEST(SessionRowTest, AHeaderIsReadWithoutItsBody) {
  storage::Row row = Stored(FullRow());
  row.body.clear();
  const auto header = DecodeHeader(row);
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->last_step, 41u);
}

TEST(SessionRowTest, ARowHoldsTwoNumbersAChannelAnd32BytesAStep) {
  SessionRow row = FullRow();
  const std::size_t before = Stored(row).body.size();
  row.header.config.channels = 103;
  row.running.mean.resize(103);
  row.running.var.resize(103);
  EXPECT_EQ(Stored(row).body.size(), before + 1600);
  row.header.config.step_window = 3;
  row.steps.emplace_back();
  EXPECT_EQ(Stored(row).body.size(), before + 1600 + 32);
}

TEST(SessionRowTest, EachFlippedBitIsNoticed) {
  const storage::Row row = Stored(FullRow());
  for (std::string storage::Row::* part :
       {&storage::Row::header, &storage::Row::body}) {
    for (std::size_t i = 0; i < (row.*part).size(); ++i) {
      storage::Row damaged = row;
      (damaged.*part)[i] = static_cast<char>((damaged.*part)[i] ^ (1 << i % 8));
      EXPECT_FALSE(DecodeRow(damaged).ok()) << "byte " << i;
    }
  }
}

TEST(SessionRowTest, EachCutIsNoticed) {
  const storage::Row row = Stored(FullRow());
  for (std::size_t size = 0; size < row.body.size(); ++size) {
    storage::Row cut = row;
    cut.body.resize(size);
    ExpectDamaged(cut);
  }
  for (std::size_t size = 0; size < row.header.size(); ++size) {
    storage::Row cut = row;
    cut.header.resize(size);
    ExpectDamaged(cut);
  }
}

TEST(SessionRowTest, ARowInAnothersPlaceIsNoticed) {
  storage::Row row = Stored(FullRow());
  row.key = "net/bn2";
  ExpectDamaged(row);
  row = Stored(FullRow());
  ++row.version.number;
  ExpectDamaged(row);
  row = Stored(FullRow());
  ++row.version.incarnation;
  ExpectDamaged(row);
}

TEST(SessionRowTest, AHeaderOfAnotherWriteIsNoticed) {
  storage::Row row = Stored(FullRow());
  SessionRow later = FullRow();
  ++later.header.last_step;
  row.header = Stored(later).header;
  ExpectDamaged(row);
}

TEST(SessionRowTest, ANewerFormatIsNotTakenForDamage) {
  storage::Row row = Stored(FullRow());
  row.header.front() = 2;
  const auto decoded = DecodeRow(row);
  EXPECT_THAT(decoded, StatusIs(Code::kFailedPrecondition));
  EXPECT_THAT(decoded, HasReason("NEWER_FORMAT"));
}

TEST(SessionRowTest, ASnapshotsChecksumIsOfAllItHolds) {
  const SessionRow row = FullRow();
  std::vector<std::uint64_t> sums = {
      SnapshotChecksum(row.header.config, 41, row.running)};
  EXPECT_EQ(SnapshotChecksum(row.header.config, 41, row.running), sums[0]);
  sums.push_back(SnapshotChecksum(row.header.config, 42, row.running));
  RunningStatistics other = row.running;
  other.mean[0] = 0.0;  // was -0
  sums.push_back(SnapshotChecksum(row.header.config, 41, other));
  other = row.running;
  ++other.batch_count;
  sums.push_back(SnapshotChecksum(row.header.config, 41, other));
  SessionConfig config = row.header.config;
  config.normalization.eps = 1e-5;
  sums.push_back(SnapshotChecksum(config, 41, row.running));
  std::sort(sums.begin(), sums.end());
  EXPECT_EQ(std::unique(sums.begin(), sums.end()), sums.end());
}

}  // namespace
}  // namespace batchnorm::session
