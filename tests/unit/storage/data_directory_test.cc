// One server a folder.
#include "server/storage/data_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/storage/temporary_folder.h"

namespace batchnorm::storage {
namespace {

TEST(DataDirectoryTest, IsMadeForItsOwnerAlone) {
  const TemporaryFolder folder;
  const auto directory = DataDirectory::Open(folder.File("data"));
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ(std::filesystem::status(folder.path() / "data").permissions(),
            std::filesystem::perms::owner_all);
  EXPECT_EQ((*directory)->SessionsPath(), folder.File("data/sessions.db"));
}

TEST(DataDirectoryTest, IsRefusedWhileAnotherHasIt) {
  const TemporaryFolder folder;
  {
    const auto first = DataDirectory::Open(folder.path());
    ASSERT_TRUE(first.ok());
    const auto second = DataDirectory::Open(folder.path());
    EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(second.status().message()),
                testing::HasSubstr("another batchnormd uses it"));
  }
  EXPECT_TRUE(DataDirectory::Open(folder.path()).ok());
}

TEST(DataDirectoryTest, IsMadeWithTheFoldersAboveIt) {
  const TemporaryFolder folder;
  EXPECT_TRUE(DataDirectory::Open(folder.File("a/b/c")).ok());
}

TEST(DataDirectoryTest, ThatCannotBeMadeIsNamed) {
  const TemporaryFolder folder;
  std::ofstream(folder.File("file")) << "not a folder";
  const auto directory = DataDirectory::Open(folder.File("file/folder"));
  EXPECT_EQ(directory.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(directory.status().message()),
              testing::HasSubstr("file/folder"));
}

}  // namespace
}  // namespace batchnorm::storage
