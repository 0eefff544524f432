// Serialised sums: canonical, and nothing else is accepted.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "server/kernel/channel_sums.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ForwardSums ForwardOf(Dtype dtype, const std::vector<double>& values,
                      std::int64_t channels = 1) {
  const auto size = static_cast<std::int64_t>(values.size());
  const ChannelLayout layout(
      std::vector<std::int64_t>{size / channels, channels}, std::vector{1});
  return SumsOf(layout, TestTensor(dtype, values));
}

BackwardSums BackwardOf(const std::vector<double>& x,
                        const std::vector<double>& dy) {
  const auto size = static_cast<std::int64_t>(x.size());
  const ChannelLayout layout(std::vector<std::int64_t>{size},
                             std::vector<int>{});
  return SumsOf(layout, TestTensor(Dtype::kF64, x),
                TestTensor(Dtype::kF64, dy));
}

// A forward message of one channel, from its grammar.
class Message {
 public:
  explicit Message(std::string magic = "bnF1") : bytes_(std::move(magic)) {}
  Message& Integer(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i, value >>= 8) {
      bytes_.push_back(static_cast<char>(value & 0xff));
    }
    return *this;
  }
  Message& Channels(std::uint64_t n) { return Integer(n, 8); }
  Message& Count(std::uint64_t n) { return Integer(n, 8); }
  Message& Zero() { return Integer(0, 1); }
  // sign 1 or 2; `low` counts from limb -34.
  Message& Number(int sign, int low, const std::vector<std::uint64_t>& limbs) {
    Integer(static_cast<std::uint64_t>(sign), 1);
    Integer(static_cast<std::uint64_t>(low), 1);
    Integer(limbs.size(), 1);
    for (const std::uint64_t limb : limbs) Integer(limb, 8);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// What is written of what is read.
template <typename Sums>
std::string Rewritten(const std::string& bytes) {
  const auto parsed = Sums::Parse(bytes);
  return parsed ? parsed->Serialize() : "refused";
}

Message OneChannel() { return Message().Channels(1); }

TEST(SumCodecTest, TheBytesAreThoseOfTheGrammar) {
  const ForwardSums sums = ForwardOf(Dtype::kF32, {-1.5, -2});
  EXPECT_EQ(sums.Serialize(),
            OneChannel()
                .Count(2)
                .Number(2, 33, {std::uint64_t{1} << 63, 3})  // -3.5
                .Number(1, 33, {std::uint64_t{1} << 62, 6})  // 6.25
                .bytes());
}

TEST(SumCodecTest, EverySumComesBackWithTheSameBytes) {
  Random random(11);
  for (const Dtype dtype : kDtypes) {
    for (const HardChannel& c : HardChannels(dtype, 64, random)) {
      const std::string forward = ForwardOf(dtype, c.x).Serialize();
      EXPECT_EQ(Rewritten<ForwardSums>(forward), forward) << c.name;
      const std::string backward = BackwardOf(c.x, c.dy).Serialize();
      EXPECT_EQ(Rewritten<BackwardSums>(backward), backward) << c.name;
    }
  }
}

TEST(SumCodecTest, EqualSumsHaveEqualBytesHoweverTheyWereMade) {
  const ForwardSums direct = ForwardOf(Dtype::kF64, {1, 3, 0, -0.0});
  ForwardSums merged = ForwardOf(Dtype::kF16, {3, 0});
  merged.Merge(ForwardOf(Dtype::kF32, {1, 0}));
  EXPECT_EQ(merged.Serialize(), direct.Serialize());
}

TEST(SumCodecTest, FlagsComeBackAndHideTheFinitePart) {
  const ForwardSums nan = ForwardOf(Dtype::kF64, {kNan, 5});
  EXPECT_EQ(nan.Serialize(), ForwardOf(Dtype::kF64, {6, kNan}).Serialize());
  for (const std::vector<double>& values :
       std::vector<std::vector<double>>{{kNan, 1},
                                        {kInfinity, 1},
                                        {-kInfinity, 1},
                                        {kInfinity, -kInfinity}}) {
    const std::string bytes = ForwardOf(Dtype::kF32, values).Serialize();
    EXPECT_EQ(Rewritten<ForwardSums>(bytes), bytes);
  }
}

TEST(SumCodecTest, NoChannelsAndEmptyBatchesAreFine) {
  EXPECT_TRUE(ForwardSums::Parse(ForwardSums(0, Dtype::kF32).Serialize()));
  EXPECT_TRUE(ForwardSums::Parse(ForwardSums(3, Dtype::kF32).Serialize()));
  EXPECT_TRUE(BackwardSums::Parse(
      BackwardSums(0, Dtype::kF32, Dtype::kF32).Serialize()));
}

struct Malformed {
  const char* why;
  Message message;
};

TEST(SumCodecTest, WhatSerializeNeverGivesIsRefused) {
  const std::uint64_t most = ~std::uint64_t{0};
  const Malformed cases[] = {
      {"no bytes", Message("")},
      {"another magic", Message("bnB1").Channels(0)},
      {"another version", Message("bnF2").Channels(0)},
      {"more channels than bytes", Message().Channels(most)},
      {"a channel too few", Message().Channels(2).Count(0).Zero().Zero()},
      {"bytes left over", OneChannel().Count(0).Zero().Zero().Zero()},
      {"an unknown tag", OneChannel().Count(1).Integer(6, 1).Zero()},
      {"no limbs", OneChannel().Count(1).Number(1, 34, {}).Zero()},
      {"a leading zero limb",
       OneChannel().Count(9).Number(1, 34, {1, 0}).Number(1, 34, {1})},
      {"a trailing zero limb",
       OneChannel().Count(9).Number(1, 33, {0, 1}).Number(1, 34, {1})},
      {"a limb above the range",
       OneChannel().Count(9).Zero().Number(1, 67, {1, 1})},
      {"a cut limb",
       OneChannel().Count(9).Zero().Number(1, 34, {1}).Integer(1, 1)},
      {"a count above 2^62", OneChannel().Count(most).Zero().Zero()},
      {"a negative sum of squares",
       OneChannel().Count(9).Zero().Number(2, 34, {1})},
      {"n*Q < S*S",
       OneChannel().Count(2).Number(1, 34, {3}).Number(1, 34, {4})},
      {"squares without values",
       OneChannel().Count(0).Zero().Number(1, 34, {1})},
      {"an infinite sum of finite squares",
       OneChannel().Count(1).Integer(3, 1).Number(1, 34, {1})},
      {"a finite sum of infinite squares",
       OneChannel().Count(1).Number(1, 34, {1}).Integer(3, 1)},
  };
  for (const Malformed& c : cases) {
    EXPECT_FALSE(ForwardSums::Parse(c.message.bytes()).has_value()) << c.why;
  }
  EXPECT_TRUE(ForwardSums::Parse(
      OneChannel().Count(2).Number(1, 34, {3}).Number(1, 34, {5}).bytes()));
}

// Damage either is refused or gives what would be written with those bytes.
template <typename Sums>
void ExpectDamageIsHarmless(const std::string& good, Random& random) {
  for (int trial = 0; trial < 2000; ++trial) {
    std::string bytes = good;
    for (std::uint64_t edits = random() % 3; edits-- > 0;) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 8));
    const auto parsed = Sums::Parse(bytes);
    if (parsed) {
      EXPECT_EQ(parsed->Serialize(), bytes);
    }
  }
}

TEST(SumCodecTest, DamagedBytesAreRefusedOrMeanThemselves) {
  Random random(12);
  ExpectDamageIsHarmless<ForwardSums>(
      ForwardOf(Dtype::kF64, {1, 2e200, 3, -5e-310}, 2).Serialize(), random);
  ExpectDamageIsHarmless<BackwardSums>(
      BackwardOf({1, 2e200, 3}, {5, 1e-300, 2}).Serialize(), random);
}

TEST(SumCodecTest, RandomBytesNeverCrash) {
  Random random(13);
  for (int trial = 0; trial < 5000; ++trial) {
    std::string bytes = trial % 2 ? "bnF1" : "bnB1";
    bytes.push_back(static_cast<char>(random() % 4));
    bytes.append(7, '\0');
    for (std::uint64_t size = random() % 64; size-- > 0;) {
      bytes.push_back(
          static_cast<char>(random() % 4 ? random() % 6 : random()));
    }
    if (const auto sums = ForwardSums::Parse(bytes)) {
      EXPECT_EQ(sums->Serialize(), bytes);
      FinishForward(*sums, 0, Degenerate::kIeee);
    }
    if (const auto sums = BackwardSums::Parse(bytes)) {
      EXPECT_EQ(sums->Serialize(), bytes);
    }
  }
}

}  // namespace
}  // namespace batchnorm::kernel
