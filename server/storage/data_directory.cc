#include "server/storage/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace batchnorm::storage {
namespace {

absl::Status Failed(const std::string& path, const char* what) {
  return absl::UnavailableError(absl::StrCat("data directory ", path, ": ",
                                             what, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(
    const std::string& path) {
  std::error_code ignored;  // mkdir tells
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(),
                                      ignored);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed(path, "cannot be made");
  }
  const int lock =
      open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return Failed(path, "cannot be written to");
  std::unique_ptr<DataDirectory> directory(new DataDirectory(path, lock));
  if (flock(lock, LOCK_EX | LOCK_NB) == 0) return directory;
  if (errno != EWOULDBLOCK) return Failed(path, "cannot be locked");
  return absl::FailedPreconditionError(absl::StrCat(
      "data directory ", path,
      ": another batchnormd uses it; stop that one, or choose another folder"));
}

DataDirectory::DataDirectory(std::string path, int lock)
    : path_(std::move(path)), lock_(lock) {}

DataDirectory::~DataDirectory() { close(lock_); }

}  // namespace batchnorm::storage
