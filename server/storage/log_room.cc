#include "server/storage/log_room.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace batchnorm::storage {
namespace {

class File {
 public:
  explicit File(const std::string& path)
      : descriptor_(open(path.c_str(), O_WRONLY | O_CLOEXEC)) {}
  ~File() {
    if (is_open()) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return descriptor_ >= 0; }
  std::int64_t Size() const { return lseek(descriptor_, 0, SEEK_END); }
  bool Write(const std::string& bytes, std::size_t size, std::int64_t at) {
    return pwrite(descriptor_, bytes.data(), size, at) ==
           static_cast<ssize_t>(size);
  }
  bool Flush() { return fdatasync(descriptor_) == 0; }
  void Cut(std::int64_t size) { (void)!ftruncate(descriptor_, size); }

 private:
  int descriptor_;
};

bool Fill(File& file, std::int64_t from, std::int64_t to) {
  const std::string zeros(1 << 20, '\0');
  while (from < to) {
    const auto size =
        std::min(static_cast<std::size_t>(to - from), zeros.size());
    if (!file.Write(zeros, size, from)) return false;
    from += static_cast<std::int64_t>(size);
  }
  return file.Flush();
}

}  // namespace

void TakeLogRoom(const std::string& path, std::int64_t bytes) {
  File file(path);
  if (!file.is_open()) return;
  const std::int64_t size = file.Size();
  if (size < 0 || size >= bytes) return;
  if (!Fill(file, size, bytes)) file.Cut(size);
}

}  // namespace batchnorm::storage
