// The .npy format, from bytes written out by hand as its specification has it.
#include "client/cli/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "client/cli/diagnosis.h"
#include "client/cli/npy_header.h"
#include "proto/wire/tensor_values.h"
#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A file of version 1.0, as numpy.save lays it out but for the padding.
std::string File(const std::string& header, std::string_view elements) {
  const auto size = static_cast<char>(header.size());
  return std::string("\x93NUMPY\x01\x00", 8) + size + '\0' + header +
         std::string(elements);
}

std::string Header(const std::string& descr, const std::string& shape,
                   const std::string& fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran +
         ", 'shape': " + shape + ", }";
}

// 1.0 and 2.0 as binary32.
constexpr std::string_view kOneTwo("\x00\x00\x80\x3f\x00\x00\x00\x40", 8);
constexpr std::string_view kOneTwoBigEndian("\x3f\x80\x00\x00\x40\x00\x00\x00",
                                            8);

TEST(ParseNpyTest, ReadsLittleEndianElementsInPlace) {
  const auto tensor = ParseNpy(File(Header("<f4", "(2,)"), kOneTwo));
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->dtype, Dtype::kF32);
  EXPECT_THAT(tensor->shape, ElementsAre(2));
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1, 2));
}

TEST(ParseNpyTest, SwapsBigEndianElements) {
  const auto tensor = ParseNpy(File(Header(">f4", "(2,)"), kOneTwoBigEndian));
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->data, kOneTwo);
}

TEST(ParseNpyTest, ReadsEveryFloatingType) {
  const auto f16 =
      ParseNpy(File(Header("<f2", "(1,)"), std::string_view("\x00\x3c", 2)));
  ASSERT_THAT(f16, IsOk());
  EXPECT_EQ(f16->dtype, Dtype::kF16);
  EXPECT_THAT(ToDoubles(*f16), ElementsAre(1));
  const auto f64 = ParseNpy(
      File(Header("=f8", "(1,)"), std::string_view("\0\0\0\0\0\0\xf0\x3f", 8)));
  ASSERT_THAT(f64, IsOk());
  EXPECT_EQ(f64->dtype, Dtype::kF64);
  EXPECT_THAT(ToDoubles(*f64), ElementsAre(1));
}

TEST(ParseNpyTest, TurnsFortranOrderIntoRowMajor) {
  // [[1, 2, 3], [4, 5, 6]] lies column by column: 1 4 2 5 3 6.
  const Tensor columns = MakeTensor(std::vector<float>{1, 4, 2, 5, 3, 6}, {6});
  const auto tensor =
      ParseNpy(File(Header("<f4", "(2, 3)", "True"), columns.data));
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(tensor->shape, ElementsAre(2, 3));
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ParseNpyTest, TurnsFortranOrderOfThreeDimensionsIntoRowMajor) {
  // a[i, j, k] = 4 i + 2 j + k; the first index runs fastest in the file.
  const Tensor columns =
      MakeTensor(std::vector<float>{0, 4, 2, 6, 1, 5, 3, 7}, {8});
  const auto tensor =
      ParseNpy(File(Header("<f4", "(2, 2, 2)", "True"), columns.data));
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(ParseNpyTest, ReadsVersionsTwoAndThreeWithTheirLongerLength) {
  const std::string header = Header("<f4", "(2,)");
  for (const char version : {'\x02', '\x03'}) {
    const std::string file = std::string("\x93NUMPY", 6) + version + '\0' +
                             static_cast<char>(header.size()) +
                             std::string(3, '\0') + header +
                             std::string(kOneTwo);
    EXPECT_THAT(ParseNpy(file), IsOk());
  }
}

TEST(ParseNpyTest, EmptyDimensionsAreLegal) {
  const auto tensor = ParseNpy(File(Header("<f4", "(0, 3)"), ""));
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(tensor->shape, ElementsAre(0, 3));
  EXPECT_THAT(ToDoubles(*tensor), IsEmpty());
}

TEST(ParseNpyTest, UnnamedTwoByteDataNeedItsTypeFromTheCaller) {
  const std::string file =
      File(Header("|V2", "(1,)"), std::string_view("\x80\x3f", 2));
  EXPECT_THAT(ParseNpy(file), HasText("type 'V2' is unnamed 2-byte data"));
  EXPECT_THAT(ParseNpy(file, Dtype::kF32), HasText("unnamed 2-byte data"));
  const auto tensor = ParseNpy(file, Dtype::kBF16);
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->dtype, Dtype::kBF16);
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1));
}

TEST(ParseNpyTest, ANamedTypeGoesBeforeTheCallersWord) {
  const auto tensor =
      ParseNpy(File(Header("<f4", "(2,)"), kOneTwo), Dtype::kBF16);
  ASSERT_THAT(tensor, IsOk());
  EXPECT_EQ(tensor->dtype, Dtype::kF32);
}

struct Refusal {
  std::string header;
  std::string error;
};

class ParseNpyRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(ParseNpyRefusalTest, SaysWhatIsWrong) {
  EXPECT_THAT(ParseNpy(File(GetParam().header, kOneTwo)),
              HasText(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, ParseNpyRefusalTest,
    ::testing::Values(
        Refusal{Header("<i4", "(2,)"), "elements of type '<i4'"},
        Refusal{Header("|O", "(1,)"), "elements of type '|O'"},
        Refusal{Header("<c8", "(1,)"), "elements of type '<c8'"},
        Refusal{Header("<f16", "(1,)"), "elements of type '<f16'"},
        Refusal{Header("", "(1,)"), "elements of type ''"},
        Refusal{"{'descr': [('a', '<f4')], 'fortran_order': False, "
                "'shape': (1,), }",
                "structured array"},
        Refusal{"", "not a dict"}, Refusal{"{", "not a dict of keys"},
        Refusal{"{}", "key 'descr' is missing"},
        Refusal{"{'descr': '<f4', 'shape': (2,)}",
                "key 'fortran_order' is missing"},
        Refusal{"{'descr': '<f4', 'descr': '<f4'}", "key 'descr' stands twice"},
        Refusal{"{'dtype': '<f4'}", "unknown key 'dtype'"},
        Refusal{Header("<f4", "(2,)") + "x", "text behind the dict"},
        Refusal{Header("<f4", "(2,)", "1"), "not True or False"},
        Refusal{Header("<f4", "(2)"), "not a tuple"},
        Refusal{Header("<f4", "(-2,)"), "not a tuple"},
        Refusal{Header("<f4", "2"), "not a tuple"},
        Refusal{Header("<f4", "(99999999999999999999,)"), "not a tuple"},
        Refusal{Header("<f4", "(4294967296, 4294967296)"),
                "too large to be real"},
        Refusal{Header("<f4", "(3,)"), "8 bytes of elements, expected 12"},
        Refusal{Header("<f4", "(1,)"), "8 bytes of elements, expected 4"}));

TEST(ParseNpyTest, EveryTruncationIsAnError) {
  const std::string file = File(Header("<f4", "(2,)"), kOneTwo);
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseNpy(file.substr(0, size)).ok()) << size;
  }
}

TEST(ParseNpyTest, AnUnknownVersionIsNamed) {
  std::string file = File(Header("<f4", "(2,)"), kOneTwo);
  file[6] = 9;
  EXPECT_THAT(ParseNpy(file), HasText("npy version 9.0"));
}

TEST(ParseNpyTest, IntegersComeWithAHintToConvert) {
  const auto tensor = ParseNpy(File(Header("<i4", "(2,)"), kOneTwo));
  const auto diagnosis = DiagnosisOf(tensor.status());
  ASSERT_TRUE(diagnosis.has_value());
  EXPECT_THAT(diagnosis->hint, ::testing::HasSubstr("astype"));
}

TEST(ParseNpyHeaderTest, AcceptsWhatPythonTwoWrote) {
  const auto header = ParseNpyHeader(
      "{\"shape\": (3L, 4L), 'fortran_order':False ,'descr':'<f8'}   \n");
  ASSERT_THAT(header, IsOk());
  EXPECT_THAT(header->shape, ElementsAre(3, 4));
  EXPECT_EQ(header->descr, "<f8");
}

TEST(EncodeNpyTest, WritesTheBytesOfNumpySave) {
  const auto bytes = EncodeNpy(MakeTensor(std::vector<float>{1, 2}, {2}));
  ASSERT_THAT(bytes, IsOk());
  std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  header += std::string(128 - 10 - header.size() - 1, ' ') + "\n";
  EXPECT_EQ(*bytes, std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header +
                        std::string(kOneTwo));
}

TEST(EncodeNpyTest, WhatIsWrittenReadsBackTheSame) {
  const std::vector<std::vector<std::int64_t>> shapes = {
      {6}, {2, 3}, {1, 2, 3}, {6, 1, 1, 1}};
  for (const Dtype dtype : {Dtype::kF16, Dtype::kF32, Dtype::kF64}) {
    for (const auto& shape : shapes) {
      const Tensor tensor = MakeTensor(
          dtype, std::vector<double>{0, -1, 2.5, 1e-5, 7, 65504}, shape);
      const auto bytes = EncodeNpy(tensor);
      ASSERT_THAT(bytes, IsOk());
      const auto again = ParseNpy(*bytes);
      ASSERT_THAT(again, IsOk());
      EXPECT_EQ(again->dtype, tensor.dtype);
      EXPECT_EQ(again->shape, tensor.shape);
      EXPECT_EQ(again->data, tensor.data);
    }
  }
}

TEST(EncodeNpyTest, RefusesBfloat16WhichNumpyCannotName) {
  EXPECT_THAT(EncodeNpy(MakeTensor(Dtype::kBF16, std::vector<double>{1}, {1})),
              HasText("bf16 cannot be written as npy"));
}

}  // namespace
}  // namespace batchnorm::cli
