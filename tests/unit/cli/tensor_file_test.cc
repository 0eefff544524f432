// Files named on the command line: which format, which member, and writing
// that leaves nothing half done.
#include "client/cli/tensor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "client/cli/diagnosis.h"
#include "client/cli/file_io.h"
#include "client/cli/inputs.h"
#include "proto/wire/tensor_values.h"
#include "tests/matchers.h"

namespace batchnorm::cli {
namespace {

namespace fs = std::filesystem;

using ::batchnorm::testing::HasText;
using ::batchnorm::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor Numbers(const std::vector<float>& values) {
  return MakeTensor(std::span<const float>(values),
                    {static_cast<std::int64_t>(values.size())});
}

// Each test has an empty folder of its own.
class TensorFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = fs::temp_directory_path() / "tensor_file.XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ / name; }

  void Write(const std::string& name, const std::vector<NamedTensor>& tensors) {
    auto file = OutputFile::Create(Path(name));
    ASSERT_THAT(file, IsOk());
    ASSERT_THAT(WriteTensors(*file, tensors, PipeFormat::kNpy), IsOk());
  }

  std::vector<std::string> FilesInFolder() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  absl::StatusOr<Tensor> ReadOne(const std::string& name, Role role) {
    TensorReader reader{ReadOptions{}};
    return reader.ReadOne(Path(name), [&](std::string_view member) {
      return RoleOf(member) == role;
    });
  }

  fs::path folder_;
};

TEST_F(TensorFileTest, WhatIsWrittenReadsBackInEveryFormat) {
  for (const char* name : {"a.npy", "a.npz", "a.safetensors"}) {
    Write(name, {{"y", Numbers({1, 2.5})}});
    const auto tensor = ReadOne(name, Role::kY);
    ASSERT_THAT(tensor, IsOk());
    EXPECT_THAT(ToDoubles(*tensor), ElementsAre(1, 2.5)) << name;
  }
}

TEST_F(TensorFileTest, AMemberCanBeNamed) {
  Write("a.npz", {{"left", Numbers({1})}, {"right", Numbers({2})}});
  const auto tensor = ReadOne("a.npz:right", Role::kX);
  ASSERT_THAT(tensor, IsOk());
  EXPECT_THAT(ToDoubles(*tensor), ElementsAre(2));
}

TEST_F(TensorFileTest, TheMemberWithTheRolesNameIsMeant) {
  Write("a.npz", {{"bias", Numbers({1})}, {"weight", Numbers({2})}});
  const auto gamma = ReadOne("a.npz", Role::kGamma);
  ASSERT_THAT(gamma, IsOk());
  EXPECT_THAT(ToDoubles(*gamma), ElementsAre(2));
}

TEST_F(TensorFileTest, AMemberThatIsMeantByNobodyIsAskedFor) {
  Write("a.npz", {{"left", Numbers({1})}, {"right", Numbers({2})}});
  const auto tensor = ReadOne("a.npz", Role::kX);
  EXPECT_THAT(tensor, HasText("which member is meant?"));
  EXPECT_THAT(DiagnosisOf(tensor.status())->why, HasSubstr("left, right"));
}

TEST_F(TensorFileTest, AMissingMemberIsNamedWithThoseThereAre) {
  Write("a.npz", {{"left", Numbers({1})}, {"right", Numbers({2})}});
  const auto tensor = ReadOne("a.npz:middle", Role::kX);
  EXPECT_THAT(tensor, HasText("no member 'middle'"));
  EXPECT_THAT(DiagnosisOf(tensor.status())->why, HasSubstr("left, right"));
}

TEST_F(TensorFileTest, ErrorsNameTheFile) {
  EXPECT_THAT(ReadOne("none.npy", Role::kX),
              HasText(Path("none.npy") + ": cannot be opened"));
  EXPECT_THAT(ReadOne("x.txt", Role::kX),
              HasText("the suffix names no known format"));
}

TEST_F(TensorFileTest, AFolderIsNoFile) {
  fs::create_directory(Path("x.npy"));
  EXPECT_THAT(ReadOne("x.npy", Role::kX), HasText("cannot be read"));
}

TEST_F(TensorFileTest, AnUncommittedFileNeverAppears) {
  {
    auto file = OutputFile::Create(Path("y.npy"));
    ASSERT_THAT(file, IsOk());
    EXPECT_FALSE(fs::exists(Path("y.npy")));
  }
  EXPECT_THAT(FilesInFolder(), ElementsAre());
}

TEST_F(TensorFileTest, ACommittedFileReplacesTheOldOneAndLeavesNoOther) {
  Write("y.npy", {{"y", Numbers({1})}});
  Write("y.npy", {{"y", Numbers({2})}});
  EXPECT_THAT(FilesInFolder(), ElementsAre("y.npy"));
  EXPECT_THAT(ToDoubles(*ReadOne("y.npy", Role::kY)), ElementsAre(2));
}

TEST_F(TensorFileTest, ResultsAreAsReadableAsAnyNewFile) {
  const mode_t old = umask(022);
  Write("y.npy", {{"y", Numbers({1})}});
  umask(old);
  EXPECT_EQ(fs::status(Path("y.npy")).permissions(), fs::perms(0644));
}

TEST_F(TensorFileTest, ASymbolicLinkKeepsPointingWhereItPoints) {
  Write("real.npy", {{"y", Numbers({1})}});
  fs::create_symlink("real.npy", Path("link.npy"));
  Write("link.npy", {{"y", Numbers({2})}});
  EXPECT_TRUE(fs::is_symlink(Path("link.npy")));
  EXPECT_THAT(ToDoubles(*ReadOne("real.npy", Role::kY)), ElementsAre(2));
}

TEST_F(TensorFileTest, AFolderThatDoesNotExistFailsBeforeAnyWork) {
  EXPECT_THAT(OutputFile::Create(Path("none/y.npy")),
              HasText("cannot be written"));
}

TEST(CheckDestinationTest, OneTensorFormatsTakeOneTensor) {
  for (const char* path : {"y.npy", "y.csv", "-"}) {
    EXPECT_THAT(CheckDestination(path, {1, Dtype::kF32}, PipeFormat::kNpy),
                IsOk());
    EXPECT_THAT(CheckDestination(path, {3, Dtype::kF32}, PipeFormat::kNpy),
                HasText("3 results, and room for one"));
  }
  EXPECT_THAT(CheckDestination("y.npz", {3, Dtype::kF32}, PipeFormat::kNpy),
              IsOk());
}

TEST(CheckDestinationTest, Bfloat16GoesWhereItsNameIsKept) {
  const Contents contents{1, Dtype::kBF16};
  for (const char* path : {"y.npy", "y.npz", "-"}) {
    EXPECT_THAT(CheckDestination(path, contents, PipeFormat::kNpy),
                HasText("bf16 cannot be written as npy"));
  }
  EXPECT_THAT(CheckDestination("y.safetensors", contents, PipeFormat::kNpy),
              IsOk());
}

TEST(ParseReferenceTest, OnlyArchivesHaveMembers) {
  EXPECT_EQ(ParseReference("a.npz:x").member, "x");
  EXPECT_EQ(ParseReference("a.safetensors:block.0.x").member, "block.0.x");
  EXPECT_EQ(ParseReference("a.npz").member, "");
  EXPECT_EQ(ParseReference("c:x.npy").path, "c:x.npy");
}

TEST(ByRoleTest, TwoNamesForOneRoleAreAnError) {
  Archive archive;
  archive.tensors.push_back({"gamma", Numbers({1})});
  archive.tensors.push_back({"weight", Numbers({1})});
  EXPECT_THAT(ByRole(std::move(archive), "a.npz"),
              HasText("a.npz: two members are gamma"));
}

TEST(TakeRunningStatisticsTest, OneWithoutTheOtherIsAnError) {
  TensorsByRole tensors;
  tensors.emplace(Role::kRunningMean, Numbers({1}));
  EXPECT_THAT(TakeRunningStatistics(tensors, 0),
              HasText("running_var is missing"));
}

}  // namespace
}  // namespace batchnorm::cli
