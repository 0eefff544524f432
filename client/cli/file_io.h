// Whole files in and out; "-" is standard input and standard output. Errors
// are diagnoses that name the file.
#ifndef BATCHNORMD_CLIENT_CLI_FILE_IO_H_
#define BATCHNORMD_CLIENT_CLI_FILE_IO_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace batchnorm::cli {

// Thread-safe for files; standard input is read to its end.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// A file that appears whole or not at all: it is written under a temporary name
// in the same folder, and renamed. Created before the work whose result it
// takes, so that a path that cannot be written fails early.
//
// Thread-compatible; at most one exists at a time (interrupt.h).
class OutputFile {
 public:
  // Standard output, devices and pipes are written directly.
  static absl::StatusOr<OutputFile> Create(const std::string& path);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();  // removes what was not committed

  // Writes all bytes and gives the file its name. Call once.
  absl::Status Commit(std::string_view bytes);

  // As it was given.
  const std::string& path() const { return path_; }

 private:
  OutputFile(std::string path, int descriptor);

  void Close();

  std::string path_;
  std::string target_;     // path_ with symbolic links followed
  std::string temporary_;  // "" where it is written directly
  int descriptor_;         // -1 once closed
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_FILE_IO_H_
