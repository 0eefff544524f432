// What lasts, and what is refused, of rows in a file.
#include "server/storage/sqlite_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/storage/temporary_folder.h"

namespace batchnorm::storage {
namespace {

class SqliteStoreTest : public testing::Test {
 protected:
  std::string path() const { return folder_.File("rows.db"); }
  auto Open(std::int64_t log_room = 0) const {
    return SqliteStore::Open({.path = path(), .log_room = log_room});
  }
  std::unique_ptr<SqliteStore> MustOpen() const {
    auto store = Open();
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  void Execute(const std::string& sql) const {
    sqlite3* file = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &file), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(file, sql.c_str(), nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(file);
  }

  TemporaryFolder folder_;
};

TEST_F(SqliteStoreTest, RowsAreThereWhenTheFileIsOpenedAgain) {
  const Write write = {"a", {5, 0}, "header", "body"};
  ASSERT_TRUE(MustOpen()->Commit({&write, 1}).ok());
  const auto row = MustOpen()->Load("a");
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->version, (Version{5, 1}));
  EXPECT_EQ((*row)->header, "header");
  EXPECT_EQ((*row)->body, "body");
}

class KilledStoreTest : public SqliteStoreTest,
                        public testing::WithParamInterface<std::int64_t> {};

// The child says a number only after its commit; then it is killed.
TEST_P(KilledStoreTest, WhatWasDoneSurvivesAKilledProcess) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto store = Open(GetParam());
    for (std::uint64_t number = 0; store.ok(); ++number) {
      const Write write = {"a", {1, number}, "", std::string(3000, 'x')};
      if (!(*store)->Commit({&write, 1}).ok()) break;
      if (::write(pipe_ends[1], &number, sizeof(number)) < 0) break;
    }
    _exit(1);
  }
  close(pipe_ends[1]);
  std::uint64_t done = 0;
  while (done < 100) {
    ASSERT_EQ(read(pipe_ends[0], &done, sizeof(done)), ssize_t{sizeof(done)});
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  while (read(pipe_ends[0], &done, sizeof(done)) == sizeof(done)) {
  }
  close(pipe_ends[0]);
  const auto row = MustOpen()->Load("a");
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_GE((*row)->version.number, done + 1);
  EXPECT_LE((*row)->version.number, done + 2);  // one may not have been said
}

// Without and with zeros after the last commit.
INSTANTIATE_TEST_SUITE_P(LogRoom, KilledStoreTest,
                         testing::Values(0, std::int64_t{16} << 20));

TEST_F(SqliteStoreTest, CommitsDoNotMakeALogWithRoomLonger) {
  constexpr std::int64_t kRoom = 1 << 20;
  const auto store = Open(kRoom);
  ASSERT_TRUE(store.ok());
  const auto log_bytes = [this] {
    return static_cast<std::int64_t>(
        std::filesystem::file_size(path() + "-wal"));
  };
  EXPECT_EQ(log_bytes(), kRoom);
  for (std::uint64_t number = 0; number < 50; ++number) {
    const Write write = {"a", {1, number}, "", std::string(3000, 'x')};
    ASSERT_TRUE((*store)->Commit({&write, 1}).ok());
  }
  EXPECT_EQ(log_bytes(), kRoom);
}

TEST_F(SqliteStoreTest, TheLogDoesNotGrowForever) {
  const auto store = MustOpen();
  constexpr std::size_t kBody = 1 << 20;
  for (std::uint64_t number = 0; number < 100; ++number) {
    const Write write = {"a", {1, number}, "", std::string(kBody, 'x')};
    ASSERT_TRUE(store->Commit({&write, 1}).ok());
  }
  EXPECT_LT(std::filesystem::file_size(path() + "-wal"), 32 * kBody);
}

// A row and a part of a few hundred bytes each have a page each.
TEST_F(SqliteStoreTest, APartThatIsWrittenAgainCostsItsOwnPagesOnly) {
  const auto store = MustOpen();
  const auto log_bytes = [this] {
    return std::filesystem::file_size(path() + "-wal");
  };
  const auto commit = [&](std::uint64_t number) {
    const std::string bytes(300, static_cast<char>('a' + number % 26));
    const Write write = {"a",
                         {1, number},
                         "",
                         bytes,
                         {{static_cast<std::uint32_t>(number % 8), bytes}}};
    ASSERT_TRUE(store->Commit({&write, 1}).ok());
  };
  for (std::uint64_t number = 0; number < 8; ++number) commit(number);
  const auto before = log_bytes();
  constexpr std::uint64_t kCommits = 50;
  for (std::uint64_t i = 0; i < kCommits; ++i) commit(8 + i);
  EXPECT_LT(log_bytes() - before, kCommits * 5 * 4096 / 2);
}

TEST_F(SqliteStoreTest, AFileOfAnotherProgramIsRefusedAndLeftAsItIs) {
  Execute("CREATE TABLE theirs (a); PRAGMA application_id=7");
  const auto store = Open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  Execute("INSERT INTO theirs VALUES (1)");
}

TEST_F(SqliteStoreTest, ANewerFormatIsRefused) {
  MustOpen();
  Execute("PRAGMA user_version=3");
  const auto store = Open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(store.status().message().find("the file has 3"), std::string::npos)
      << store.status();
}

TEST_F(SqliteStoreTest, AFileOfTheFirstFormatGetsRoomForParts) {
  const Write first = {"a", {5, 0}, "header", "body"};
  ASSERT_TRUE(MustOpen()->Commit({&first, 1}).ok());
  Execute("DROP TABLE parts; PRAGMA user_version=1");
  const Write second = {"a", {5, 1}, "header", "body", {{3, "part"}}};
  ASSERT_TRUE(MustOpen()->Commit({&second, 1}).ok());
  const auto row = MustOpen()->Load("a");
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->version, (Version{5, 2}));
  EXPECT_EQ((*row)->parts, (std::vector<Part>{{3, "part"}}));
}

TEST_F(SqliteStoreTest, WhatIsNoDatabaseIsDataLossAndNamesNoPath) {
  std::ofstream(path()) << std::string(8192, 'x');
  const auto store = Open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(store.status().message().find('/'), std::string::npos);
}

// A size limit that the file reaches stands for a disk that fails: what comes
// after the error is refused, and what was done before is there afterwards.
TEST_F(SqliteStoreTest, AfterAnIoErrorNothingIsAcknowledged) {
  const pid_t child = fork();
  if (child == 0) {
    auto store = Open();
    if (!store.ok()) _exit(10);
    const Write first = {"first", {1, 0}, "", "done"};
    if (!(*store)->Commit({&first, 1}).ok()) _exit(11);
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(12);
    const Write large = {"large", {1, 0}, "", std::string(4 << 20, 'x')};
    if ((*store)->Commit({&large, 1}).ok()) _exit(13);
    const Write small = {"small", {1, 0}, "", ""};
    const auto refused = (*store)->Commit({&small, 1});
    _exit(absl::IsUnavailable(refused.status()) ? 0 : 14);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto store = MustOpen();
  EXPECT_EQ((*store->Load("first"))->body, "done");
  EXPECT_FALSE(store->Load("large")->has_value());
  EXPECT_EQ(*store->Count(), 1);
}

}  // namespace
}  // namespace batchnorm::storage
