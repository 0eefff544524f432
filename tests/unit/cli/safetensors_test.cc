// The .safetensors format, from bytes written out by hand.
#include "client/cli/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "proto/wire/tensor_values.h"
#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string LengthOf(std::uint64_t size) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>(size >> (8 * i) & 0xFF);
  }
  return bytes;
}

std::string File(const std::string& json, std::string_view data) {
  return LengthOf(json.size()) + json + std::string(data);
}

constexpr std::string_view kOneTwo("\x00\x00\x80\x3f\x00\x00\x00\x40", 8);

const char kPlain[] =
    R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST(ParseSafetensorsTest, ReadsATensor) {
  const auto archive = ParseSafetensors(File(kPlain, kOneTwo));
  ASSERT_THAT(archive, IsOk());
  ASSERT_EQ(archive->tensors.size(), 1U);
  EXPECT_EQ(archive->tensors[0].name, "x");
  EXPECT_THAT(archive->tensors[0].tensor.shape, ElementsAre(2));
  EXPECT_THAT(ToDoubles(archive->tensors[0].tensor), ElementsAre(1, 2));
}

TEST(ParseSafetensorsTest, ReadsEveryFloatingType) {
  const std::string json =
      R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
      R"("b":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]},)"
      R"("c":{"dtype":"F64","shape":[1,1],"data_offsets":[4,12]}})";
  const auto archive = ParseSafetensors(
      File(json, std::string_view("\x00\x3c\x80\x3f\0\0\0\0\0\0\xf0\x3f", 12)));
  ASSERT_THAT(archive, IsOk());
  ASSERT_EQ(archive->tensors.size(), 3U);
  EXPECT_EQ(archive->tensors[1].tensor.dtype, Dtype::kBF16);
  for (const NamedTensor& named : archive->tensors) {
    EXPECT_THAT(ToDoubles(named.tensor), ElementsAre(1)) << named.name;
  }
}

TEST(ParseSafetensorsTest, MetadataAndPaddingAreIgnored) {
  const std::string json =
      R"({"__metadata__":{"format":"pt","by":"hand"},)"
      R"("x":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}}    )";
  const auto archive = ParseSafetensors(File(json, kOneTwo));
  ASSERT_THAT(archive, IsOk());
  EXPECT_EQ(archive->tensors.size(), 1U);
}

TEST(ParseSafetensorsTest, AnEmptyArchiveIsLegal) {
  const auto archive = ParseSafetensors(File("{}", ""));
  ASSERT_THAT(archive, IsOk());
  EXPECT_THAT(archive->tensors, IsEmpty());
}

TEST(ParseSafetensorsTest, EmptyTensorsAreLegal) {
  const std::string json =
      R"({"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},)"
      R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto archive = ParseSafetensors(File(json, kOneTwo));
  ASSERT_THAT(archive, IsOk());
  EXPECT_THAT(archive->tensors[0].tensor.shape, ElementsAre(0, 3));
}

TEST(ParseSafetensorsTest, AnotherTypeIsAnErrorOnlyWhereItIsWanted) {
  const std::string json =
      R"({"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})";
  const std::string file = File(json, std::string(8, '\0'));
  EXPECT_THAT(ParseSafetensors(file),
              HasText("tensor 'n' has elements of type 'I64'"));
  ReadOptions none;
  none.wanted = [](std::string_view) { return false; };
  const auto archive = ParseSafetensors(file, none);
  ASSERT_THAT(archive, IsOk());
  EXPECT_THAT(archive->skipped, ElementsAre("n"));
}

struct Refusal {
  std::string json;
  std::string error;
};

class ParseSafetensorsRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(ParseSafetensorsRefusalTest, SaysWhatIsWrong) {
  EXPECT_THAT(ParseSafetensors(File(GetParam().json, kOneTwo)),
              HasText(GetParam().error));
}

std::string Entry(const std::string& rest) { return R"({"x":{)" + rest + "}}"; }

INSTANTIATE_TEST_SUITE_P(
    Headers, ParseSafetensorsRefusalTest,
    ::testing::Values(
        Refusal{"", "the JSON is broken"}, Refusal{"{", "the JSON is broken"},
        Refusal{"[]", "an array where none belongs"},
        Refusal{"1", "a number where none belongs"},
        Refusal{R"({"x":null})", "null where none belongs, at tensor 'x'"},
        Refusal{Entry(R"("dtype":"F32","shape":[2])"), "lacks one of"},
        Refusal{Entry(R"("dtype":"F32","dtype":"F32")"),
                "key 'dtype' stands twice"},
        Refusal{R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                "key 'x' stands twice"},
        Refusal{Entry(R"("size":8)"), "unknown key 'size'"},
        Refusal{Entry(R"("dtype":4)"), "a number where none belongs"},
        Refusal{Entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
                "a negative number"},
        Refusal{Entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
                "a fraction"},
        Refusal{Entry(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"),
                "an array where none belongs"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"),
                "less than two data_offsets"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])"),
                "a number where none belongs"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[4,8])"),
                "expected to begin at 0"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"),
                "tensors end at 4, the file has 8"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,12])"),
                "tensors end at 12, the file has 8"},
        Refusal{Entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
                "expected to begin at 0"},
        Refusal{Entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
                "8 bytes, which are not shape [3] of F32"},
        Refusal{Entry(R"("dtype":"F32","shape":[4611686018427387904,4],)"
                      R"("data_offsets":[0,8])"),
                "which are not shape"},
        Refusal{R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                R"("z":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                "tensor 'z' has data_offsets [0, 8], expected to begin at 4"},
        Refusal{R"({"__metadata__":{"a":1}})", "a number where none belongs"},
        Refusal{R"({"x":{"dtype":"F32)", "the JSON is broken"},
        Refusal{"{\"\xff\":{}}", "the JSON is broken"}));

TEST(ParseSafetensorsTest, DeepNestingEndsAtTheSecondArray) {
  const std::string json =
      Entry("\"dtype\":\"F32\",\"shape\":" + std::string(100'000, '['));
  EXPECT_THAT(ParseSafetensors(File(json, "")), HasText("an array"));
}

TEST(ParseSafetensorsTest, AHeaderBeyondTheFileOrTheLimitIsRefused) {
  EXPECT_THAT(ParseSafetensors("1234567"), HasText("7 bytes cannot hold"));
  EXPECT_THAT(ParseSafetensors(LengthOf(100) + "{}"),
              HasText("a header of 100 bytes in a file with 2 left"));
  EXPECT_THAT(ParseSafetensors(LengthOf(100'000'001) + "{}"),
              HasText("at most 100000000 are legal"));
  EXPECT_THAT(ParseSafetensors(LengthOf(~std::uint64_t{0}) + "{}"),
              HasText("at most 100000000 are legal"));
}

TEST(ParseSafetensorsTest, EveryTruncationIsAnError) {
  const std::string file = File(kPlain, kOneTwo);
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(file.substr(0, size)).ok()) << size;
  }
}

TEST(EncodeSafetensorsTest, LaysOutLargerElementsFirst) {
  const std::vector<NamedTensor> tensors = {
      {"y", MakeTensor(Dtype::kBF16, std::vector<double>{1}, {1})},
      {"mean", MakeTensor(std::vector<double>{1}, {1})}};
  const auto bytes = EncodeSafetensors(tensors);
  ASSERT_THAT(bytes, IsOk());
  std::string json =
      R"({"mean":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
      R"("y":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}})";
  json += std::string((8 - json.size() % 8) % 8, ' ');
  EXPECT_EQ(*bytes,
            File(json, std::string_view("\0\0\0\0\0\0\xf0\x3f\x80\x3f", 10)));
}

TEST(EncodeSafetensorsTest, WhatIsWrittenReadsBackTheSame) {
  std::vector<NamedTensor> tensors;
  for (const Dtype dtype :
       {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    tensors.push_back(
        {std::string(NameOf(dtype)),
         MakeTensor(dtype, std::vector<double>{0, -1, 2.5, 7}, {2, 2})});
  }
  const auto archive = ParseSafetensors(EncodeSafetensors(tensors).value());
  ASSERT_THAT(archive, IsOk());
  ASSERT_EQ(archive->tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(archive->tensors[i].name, tensors[i].name);
    EXPECT_EQ(archive->tensors[i].tensor.shape, tensors[i].tensor.shape);
    EXPECT_EQ(archive->tensors[i].tensor.data, tensors[i].tensor.data);
  }
}

}  // namespace
}  // namespace batchnorm::cli
