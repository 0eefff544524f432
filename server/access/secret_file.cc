#include "server/access/secret_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace batchnorm::access {
namespace {

constexpr std::size_t kMostBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  struct stat about{};
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open() || stat(path.c_str(), &about) != 0 ||
      S_ISDIR(about.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": ",
                     std::strerror(errno != 0 ? errno : EISDIR)));
  }
  std::string text(kMostBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMostBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected at most ", kMostBytes, " bytes, got more"));
  }
  return text;
}

bool IsReadableByOthers(const std::string& path) {
  struct stat about{};
  return stat(path.c_str(), &about) == 0 && (about.st_mode & S_IROTH) != 0;
}

}  // namespace batchnorm::access
