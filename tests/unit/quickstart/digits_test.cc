#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "client/cli/demo_digits.h"
#include "client/cli/diagnosis.h"

namespace batchnorm::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Shipped() { return FindDigits("").value(); }

std::string TempFile(const std::string& name, const std::string& content) {
  std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string Content(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

// `pixels` times "0," and the label.
std::string Row(int pixels, const std::string& label) {
  std::string row;
  for (int i = 0; i < pixels; ++i) row += "0,";
  return row + label + "\n";
}

TEST(DigitsTest, TheShippedFileHasTheKnownNumberOfEachDigit) {
  const auto digits = ReadDigits(Shipped());
  ASSERT_TRUE(digits.ok()) << digits.status();
  std::array<int, kDigitClasses> counts{};
  for (int label : digits->labels) ++counts[static_cast<std::size_t>(label)];
  // As scikit-learn's documentation of load_digits and UCI's description say.
  EXPECT_THAT(counts,
              ElementsAre(178, 182, 177, 183, 181, 182, 181, 179, 174, 180));
  EXPECT_EQ(digits->pixels.size(), 1797 * kDigitPixels);
}

TEST(DigitsTest, InkIsScaledToOne) {
  std::string csv = Row(kDigitPixels, "7");
  csv[0] = '8';
  const auto digits = ParseDigits("16" + csv.substr(1) + csv);
  ASSERT_TRUE(digits.ok()) << digits.status();
  EXPECT_EQ(digits->pixels[0], 1.0F);
  EXPECT_EQ(digits->pixels[1], 0.0F);
  EXPECT_EQ(digits->pixels[kDigitPixels], 0.5F);
  EXPECT_THAT(digits->labels, ElementsAre(7, 7));
}

TEST(DigitsTest, AnUnpackedFileIsReadToo) {
  const auto digits = ReadDigits(TempFile("plain.csv", Row(kDigitPixels, "3")));
  ASSERT_TRUE(digits.ok()) << digits.status();
  EXPECT_THAT(digits->labels, ElementsAre(3));
}

TEST(DigitsTest, AFileCutShortIsRefused) {
  const std::string whole = Content(Shipped());
  const std::string path =
      TempFile("short.csv.gz", whole.substr(0, whole.size() / 2));
  const auto digits = ReadDigits(path);
  ASSERT_FALSE(digits.ok());
  EXPECT_EQ(digits.status().message(), path + ": is damaged");
}

TEST(DigitsTest, AMissingFileIsNamedWithAHint) {
  const auto digits = ReadDigits("/nowhere/digits.csv.gz");
  ASSERT_FALSE(digits.ok());
  const auto diagnosis =
      DiagnosisOf(digits.status()).value_or(Diagnosis{"none", "", ""});
  EXPECT_EQ(diagnosis.error, "/nowhere/digits.csv.gz: cannot be opened");
  EXPECT_EQ(diagnosis.why, "No such file or directory");
  EXPECT_THAT(diagnosis.hint, HasSubstr("--data"));
}

struct BadRow {
  std::string row;
  std::string fault;
};

class BadRowTest : public ::testing::TestWithParam<BadRow> {};

TEST_P(BadRowTest, IsRefusedByItsNumber) {
  const auto digits = ParseDigits(Row(kDigitPixels, "1") + GetParam().row);
  ASSERT_FALSE(digits.ok());
  EXPECT_EQ(digits.status().message(), "row 2 " + GetParam().fault);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, BadRowTest,
    ::testing::Values(
        BadRow{Row(kDigitPixels - 1, "1"), "has 64 fields"},
        BadRow{Row(kDigitPixels + 1, "1"), "has 66 fields"},
        BadRow{"17," + Row(kDigitPixels - 1, "1"), "has the pixel '17'"},
        BadRow{"-1," + Row(kDigitPixels - 1, "1"), "has the pixel '-1'"},
        BadRow{"ink," + Row(kDigitPixels - 1, "1"), "has the pixel 'ink'"},
        BadRow{Row(kDigitPixels, "10"), "has the label '10'"},
        BadRow{Row(kDigitPixels, ""), "has the label ''"}));

TEST(FindDigitsTest, TheFlagOutranksTheEnvironment) {
  setenv("BN_DEMO_DATA", "/environment.csv", 1);
  EXPECT_EQ(FindDigits("/flag.csv").value(), "/flag.csv");
  EXPECT_EQ(FindDigits("").value(), "/environment.csv");
  unsetenv("BN_DEMO_DATA");
  EXPECT_EQ(std::filesystem::path(FindDigits("").value()).filename(),
            "digits.csv.gz");
}

// Digit i has the label i % 10 and the pixel i / 16 everywhere.
Digits Numbered(std::size_t count) {
  Digits digits;
  for (std::size_t i = 0; i < count; ++i) {
    digits.pixels.insert(digits.pixels.end(), kDigitPixels,
                         static_cast<float>(i));
    digits.labels.push_back(static_cast<int>(i % kDigitClasses));
  }
  return digits;
}

TEST(SplitDigitsTest, EveryDigitIsOnExactlyOneSideWithItsLabel) {
  const DigitsSplit split = SplitDigits(Numbered(1797), 5);
  EXPECT_EQ(split.train.size(), 1438U);
  EXPECT_EQ(split.held_out.size(), 359U);
  std::set<int> seen;
  for (const Digits* side : {&split.train, &split.held_out}) {
    for (std::size_t i = 0; i < side->size(); ++i) {
      const int number = static_cast<int>(side->pixels[i * kDigitPixels]);
      EXPECT_EQ(side->labels[i], number % 10);
      seen.insert(number);
    }
  }
  EXPECT_EQ(seen.size(), 1797U);
}

TEST(SplitDigitsTest, TheSeedDecides) {
  const Digits digits = Numbered(100);
  const auto held_out = [&](std::uint64_t seed) {
    return SplitDigits(digits, seed).held_out.pixels;
  };
  EXPECT_EQ(held_out(1), held_out(1));
  EXPECT_NE(held_out(1), held_out(2));
}

}  // namespace
}  // namespace batchnorm::cli
