#include "server/storage/log_room.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/unit/storage/temporary_folder.h"

namespace batchnorm::storage {
namespace {

class LogRoomTest : public testing::Test {
 protected:
  std::string path() const { return folder_.File("log"); }
  void Write(const std::string& bytes) const {
    std::ofstream(path(), std::ios::binary) << bytes;
  }
  std::string Read() const {
    std::ifstream file(path(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  TemporaryFolder folder_;
};

TEST_F(LogRoomTest, ZerosFollowWhatIsThere) {
  for (const std::int64_t room : {5, 4096, 3 << 20}) {
    Write("abc");
    TakeLogRoom(path(), room);
    EXPECT_EQ(Read(),
              "abc" + std::string(static_cast<std::size_t>(room) - 3, '\0'));
  }
}

TEST_F(LogRoomTest, ALongerFileStaysAsItIs) {
  Write("abc");
  for (const std::int64_t room : {0, 2, 3}) TakeLogRoom(path(), room);
  EXPECT_EQ(Read(), "abc");
}

TEST_F(LogRoomTest, NoFileIsMade) {
  TakeLogRoom(path(), 100);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(LogRoomTest, WhereThereIsNotEnoughNothingIsTaken) {
  Write("abc");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {2 << 20, 2 << 20};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(1);
    TakeLogRoom(path(), 5 << 20);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Read(), "abc");
}

}  // namespace
}  // namespace batchnorm::storage
