// The .npz format. Files that NumPy wrote are read by the Python tests; these
// are damaged, deflated or hostile.
#include "client/cli/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/cli/npy.h"
#include "proto/wire/tensor_values.h"
#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;

struct Member {
  std::string name;
  std::string bytes;
};

// A zip archive of any members, by the library's own calls.
std::string Zip(const std::vector<Member>& members,
                zip_int32_t method = ZIP_CM_STORE) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* const target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(target);
  zip_t* const zip = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  for (const Member& member : members) {
    zip_source_t* const source =
        zip_source_buffer(zip, member.bytes.data(), member.bytes.size(), 0);
    const auto index = static_cast<zip_uint64_t>(
        zip_file_add(zip, member.name.c_str(), source, 0));
    zip_set_file_compression(zip, index, method, 0);
  }
  EXPECT_EQ(zip_close(zip), 0);
  zip_stat_t status;
  zip_source_stat(target, &status);
  std::string bytes(status.size, '\0');
  zip_source_open(target);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

Tensor Numbers(std::vector<float> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return MakeTensor(std::span<const float>(values), {size});
}

std::string Npy(const Tensor& tensor) { return EncodeNpy(tensor).value(); }

TEST(ParseNpzTest, ReadsStoredAndDeflatedMembers) {
  for (const zip_int32_t method : {ZIP_CM_STORE, ZIP_CM_DEFLATE}) {
    const auto archive = ParseNpz(
        Zip({{"x.npy", Npy(Numbers({1, 2}))}, {"scale.npy", Npy(Numbers({3}))}},
            method));
    ASSERT_THAT(archive, IsOk());
    ASSERT_EQ(archive->tensors.size(), 2U);
    EXPECT_EQ(archive->tensors[0].name, "x");
    EXPECT_THAT(ToDoubles(archive->tensors[0].tensor), ElementsAre(1, 2));
    EXPECT_EQ(archive->tensors[1].name, "scale");
    EXPECT_THAT(ToDoubles(archive->tensors[1].tensor), ElementsAre(3));
  }
}

TEST(ParseNpzTest, MembersNobodyWantsAreNotDecoded) {
  ReadOptions options;
  options.wanted = [](std::string_view name) { return name == "x"; };
  const auto archive = ParseNpz(
      Zip({{"labels.npy", "not an array"}, {"x.npy", Npy(Numbers({1}))}}),
      options);
  ASSERT_THAT(archive, IsOk());
  EXPECT_THAT(archive->tensors, ::testing::SizeIs(1));
  EXPECT_THAT(archive->skipped, ElementsAre("labels"));
}

TEST(ParseNpzTest, MembersThatAreNoArraysAreSkipped) {
  const auto archive =
      ParseNpz(Zip({{"README.txt", "hello"}, {"x.npy", Npy(Numbers({1}))}}));
  ASSERT_THAT(archive, IsOk());
  EXPECT_EQ(archive->tensors.size(), 1U);
}

TEST(ParseNpzTest, ADamagedMemberIsNamed) {
  EXPECT_THAT(ParseNpz(Zip({{"x.npy", "garbage"}})),
              HasText("member 'x': not a npy file"));
}

TEST(ParseNpzTest, AFlippedBitIsFoundByTheChecksum) {
  std::string bytes = Zip({{"x.npy", Npy(Numbers({1, 2, 3}))}});
  bytes[bytes.find("NUMPY") + 120] ^= 1;
  EXPECT_THAT(ParseNpz(bytes), HasText("damaged npz archive"));
}

TEST(ParseNpzTest, WhatIsNoZipIsNamedAsSuch) {
  EXPECT_THAT(ParseNpz(""), HasText("not a npz archive"));
  EXPECT_THAT(ParseNpz("hello"), HasText("not a npz archive"));
  EXPECT_THAT(ParseNpz("PK\x03\x04 and no more"),
              HasText("damaged npz archive"));
}

TEST(ParseNpzTest, EveryTruncationIsAnError) {
  const std::string bytes = Zip({{"x.npy", Npy(Numbers({1, 2, 3}))}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseNpz(bytes.substr(0, size)).ok()) << size;
  }
}

TEST(ParseNpzTest, ExpansionIsBoundedByTheSizeOfTheArchive) {
  EXPECT_EQ(MostExpandedBytes(10), std::uint64_t{1} << 30);
  EXPECT_EQ(MostExpandedBytes(std::uint64_t{1} << 30), std::uint64_t{1} << 34);
}

TEST(ParseNpzTest, ABombIsRefusedWhereItPassesTheBound) {
  const Tensor zeros = Numbers(std::vector<float>(1 << 20));
  const std::string bytes =
      Zip({{"a.npy", Npy(zeros)}, {"b.npy", Npy(zeros)}}, ZIP_CM_DEFLATE);
  ASSERT_LT(bytes.size(), 20'000U);
  ReadOptions options;
  options.most_expanded = 5 << 20;  // a takes 4 MiB of it
  EXPECT_THAT(ParseNpz(bytes, options), HasText("member 'b' expands too far"));
  options.most_expanded = 9 << 20;
  EXPECT_THAT(ParseNpz(bytes, options), IsOk());
}

TEST(EncodeNpzTest, WhatIsWrittenReadsBackTheSame) {
  const std::vector<NamedTensor> tensors = {
      {"y", MakeTensor(std::vector<float>{1, 2, 3, 4}, {2, 2})},
      {"mean", MakeTensor(std::vector<double>{0.1, 0.2}, {2})}};
  const auto bytes = EncodeNpz(tensors);
  ASSERT_THAT(bytes, IsOk());
  const auto archive = ParseNpz(*bytes);
  ASSERT_THAT(archive, IsOk());
  ASSERT_EQ(archive->tensors.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(archive->tensors[i].name, tensors[i].name);
    EXPECT_EQ(archive->tensors[i].tensor.shape, tensors[i].tensor.shape);
    EXPECT_EQ(archive->tensors[i].tensor.data, tensors[i].tensor.data);
  }
}

TEST(EncodeNpzTest, TheSameTensorsGiveTheSameBytes) {
  const std::vector<NamedTensor> tensors = {{"y", Numbers({1, 2})}};
  EXPECT_EQ(EncodeNpz(tensors).value(), EncodeNpz(tensors).value());
}

TEST(EncodeNpzTest, Bfloat16IsRefusedUnderItsName) {
  const std::vector<NamedTensor> tensors = {
      {"y", MakeTensor(Dtype::kBF16, std::vector<double>{1}, {1})}};
  EXPECT_THAT(EncodeNpz(tensors), HasText("y: bf16 cannot be written"));
}

}  // namespace
}  // namespace batchnorm::cli
