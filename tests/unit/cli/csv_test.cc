// Comma-separated numbers.
#include "client/cli/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "proto/wire/tensor_values.h"
#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;

TEST(ParseCsvTest, LinesAreRowsAndDoublesUnlessSaidOtherwise) {
  const auto tensor = ParseCsv("1,2,3\n4,5,6\n");
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->dtype, Dtype::kF64);
  EXPECT_THAT(tensor->shape, ElementsAre(2, 3));
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ParseCsvTest, AFirstLineWithoutNumbersIsAHeader) {
  const auto tensor = ParseCsv("left,right\n1,2\n");
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(tensor->shape, ElementsAre(1, 2));
}

TEST(ParseCsvTest, SpacesCarriageReturnsAndAMissingLastLineBreakAreFine) {
  const auto tensor = ParseCsv(" 1 , +2\r\n-3e-2,4");
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1, 2, -0.03, 4));
}

TEST(ParseCsvTest, NanAndInfinitiesAreNumbers) {
  const auto tensor = ParseCsv("nan,inf,-Infinity\n");
  ASSERT_THAT(tensor, IsOk());
  const auto values = ToDoubles(*tensor);
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_EQ(values[1], std::numeric_limits<double>::infinity());
  EXPECT_EQ(values[2], -std::numeric_limits<double>::infinity());
}

TEST(ParseCsvTest, NumbersBeyondTheRangeBecomeInfinityOrZero) {
  const auto tensor = ParseCsv("1e999,-1e999,1e-999\n");
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(ToDoubles(*tensor),
              ElementsAre(std::numeric_limits<double>::infinity(),
                          -std::numeric_limits<double>::infinity(), 0));
}

TEST(ParseCsvTest, RoundsToTheTypeThatIsAskedFor) {
  const auto tensor = ParseCsv("0.1\n", Dtype::kBF16);
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->dtype, Dtype::kBF16);
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(0.10009765625));
}

TEST(ParseCsvTest, SaysWhereAndWhatIsNoNumber) {
  EXPECT_THAT(ParseCsv("1,2\n3,x\n"),
              HasText("line 2, column 2: 'x' is not a number"));
  EXPECT_THAT(ParseCsv("a,1\n"),
              HasText("line 1, column 1: 'a' is not a number"));
  EXPECT_THAT(ParseCsv("1 2\n3 4\n"), HasText("'3 4' is not a number"));
  EXPECT_THAT(ParseCsv("1,\n"), HasText("column 2: '' is not a number"));
}

TEST(ParseCsvTest, LinesOfUnequalLengthAreRefused) {
  EXPECT_THAT(ParseCsv("1,2\n3\n"), HasText("line 2 has 1 cells, expected 2"));
  EXPECT_THAT(ParseCsv("a,b,c\n1,2\n"), HasText("line 2 has 2 cells"));
  EXPECT_THAT(ParseCsv("1,2\n\n3,4\n"), HasText("line 2 has 1 cells"));
}

TEST(ParseCsvTest, NoNumbersAreAnError) {
  EXPECT_THAT(ParseCsv(""), HasText("no numbers"));
  EXPECT_THAT(ParseCsv("\n\n"), HasText("no numbers"));
  EXPECT_THAT(ParseCsv("a,b\n"), HasText("no numbers"));
}

TEST(ParseCsvTest, BytesThatAreNoTextAreShownHarmlessly) {
  EXPECT_THAT(ParseCsv("1\n\x1b[31m\x00\n"), HasText("'?[31m'"));
}

TEST(EncodeCsvTest, NumbersAreShortAndReadBackTheSame) {
  const Tensor tensor = MakeTensor(
      std::vector<double>{0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308},
      {2, 2});
  const auto text = EncodeCsv(tensor);
  ASSERT_THAT(text, IsOk());
  EXPECT_EQ(*text, "0.1,0.3333333333333333\n5e-324,1.7976931348623157e+308\n");
  EXPECT_EQ(ParseCsv(*text)->data, tensor.data);
}

TEST(EncodeCsvTest, FloatsAreAsShortAsTheirTypeAllows) {
  const Tensor tensor = MakeTensor(std::vector<float>{0.1F, 16777216}, {2});
  const auto text = EncodeCsv(tensor);
  ASSERT_THAT(text, IsOk());
  EXPECT_EQ(*text, "0.1\n16777216\n");
  EXPECT_EQ(ParseCsv(*text, Dtype::kF32)->data, tensor.data);
}

TEST(EncodeCsvTest, MoreThanTwoDimensionsAreRefused) {
  EXPECT_THAT(EncodeCsv(MakeTensor(std::vector<float>{1}, {1, 1, 1})),
              HasText("shape [1,1,1] cannot be written as csv"));
}

}  // namespace
}  // namespace batchnorm::cli
