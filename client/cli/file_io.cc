#include "client/cli/file_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "client/cli/diagnosis.h"
#include "client/cli/interrupt.h"

namespace batchnorm::cli {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

absl::Status SystemError(std::string_view path, std::string_view what,
                         int code) {
  const std::string_view hint =
      what == "cannot be written" ? "choose a place that can be written with -o"
                                  : "check the path; - is standard input";
  return ToStatus({fmt::format("{}: {}", path, what),
                   std::generic_category().message(code), std::string(hint)});
}

// Closes a descriptor that the caller is done with, unless it is a standard
// stream.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ > STDERR_FILENO) close(value_);
  }
  int value() const { return value_; }

 private:
  int value_;
};

int OpenToRead(const std::string& path) {
  return path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

// So that a large file is not moved about while it is read.
void ReserveSize(int descriptor, std::string& bytes) {
  struct stat status = {};
  if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    bytes.reserve(static_cast<std::size_t>(status.st_size) + kChunk);
  }
}

bool WriteAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// Where the bytes of `path` live: a symbolic link keeps pointing there.
std::string Target(const std::string& path) {
  std::error_code error;
  auto target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

bool IsReplaceable(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  return !std::filesystem::exists(status) ||
         std::filesystem::is_regular_file(status);
}

// mkstemp makes files for their owner alone; results are as readable as any.
void GiveUsualPermissions(int descriptor) {
  const mode_t mask = umask(0);
  umask(mask);
  static_cast<void>(fchmod(descriptor, 0666 & ~mask));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const Descriptor file(OpenToRead(path));
  if (file.value() < 0) return SystemError(path, "cannot be opened", errno);
  std::string bytes;
  ReserveSize(file.value(), bytes);
  for (;;) {
    const std::size_t size = bytes.size();
    bytes.resize(size + kChunk);
    const ssize_t got = read(file.value(), bytes.data() + size, kChunk);
    bytes.resize(size + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path, "cannot be read", errno);
    if (got == 0) return bytes;
  }
}

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  if (path == "-") return OutputFile(path, STDOUT_FILENO);
  const std::string target = Target(path);
  if (!IsReplaceable(target)) {
    const int direct = open(target.c_str(), O_WRONLY | O_CLOEXEC);
    if (direct < 0) return SystemError(path, "cannot be written", errno);
    return OutputFile(path, direct);
  }
  std::string temporary = target + ".XXXXXX";
  const int descriptor = mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) return SystemError(path, "cannot be written", errno);
  RemoveOnInterrupt(temporary);
  GiveUsualPermissions(descriptor);
  OutputFile file(path, descriptor);
  file.target_ = target;
  file.temporary_ = std::move(temporary);
  return file;
}

OutputFile::OutputFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, "")),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile::~OutputFile() {
  Close();
  if (temporary_.empty()) return;
  unlink(temporary_.c_str());
  RemoveOnInterrupt("");
}

void OutputFile::Close() {
  if (descriptor_ > STDERR_FILENO) close(descriptor_);
  descriptor_ = -1;
}

absl::Status OutputFile::Commit(std::string_view bytes) {
  if (!WriteAll(descriptor_, bytes)) {
    return SystemError(path_, "cannot be written", errno);
  }
  Close();
  if (temporary_.empty()) return absl::OkStatus();
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    return SystemError(path_, "cannot be written", errno);
  }
  temporary_.clear();
  RemoveOnInterrupt("");
  return absl::OkStatus();
}

}  // namespace batchnorm::cli
