// Tensors as arguments: files of every format, told apart by their names.
//
//   x.npy                 one tensor (npy.h)
//   all.npz               named tensors (npz.h)
//   all.npz:x             the member x of it
//   model.safetensors:w   the same (safetensors.h)
//   x.csv                 one tensor (csv.h)
//   -                     standard input or output: npy, or csv on request
#ifndef BATCHNORMD_CLIENT_CLI_TENSOR_FILE_H_
#define BATCHNORMD_CLIENT_CLI_TENSOR_FILE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/file_io.h"
#include "client/cli/named_tensor.h"
#include "proto/wire/tensor.h"

namespace batchnorm::cli {

enum class FileFormat : std::uint8_t { kNpy, kNpz, kSafetensors, kCsv };

// The format that a path's suffix names; `pipe` for "-".
absl::StatusOr<FileFormat> FormatOf(std::string_view path, PipeFormat pipe);

bool HoldsManyTensors(FileFormat format);

struct FileReference {
  std::string path;
  std::string member;  // empty: none named
};

// Only archives have members: "a:b.npy" is one path.
FileReference ParseReference(std::string_view text);

// Reads arguments of one command. Thread-compatible.
class TensorReader {
 public:
  explicit TensorReader(ReadOptions options);

  using Filter = std::function<bool(std::string_view name)>;

  // The member named, or all that are wanted. A file that cannot hold names
  // gives one tensor with the name "".
  absl::StatusOr<Archive> ReadAll(const FileReference& reference,
                                  Filter wanted);

  // One tensor. Of an archive: the member named, the only one, or the one
  // whose name `fits`.
  absl::StatusOr<Tensor> ReadOne(const std::string& text, const Filter& fits);

 private:
  absl::StatusOr<std::string> ReadBytes(const std::string& path);

  ReadOptions options_;
  bool standard_input_taken_ = false;
};

// What is about to be written, as far as a format cares.
struct Contents {
  std::size_t tensors = 1;
  Dtype dtype = Dtype::kF32;  // of those that have x's type
};

// Whether `path` can take the contents: asked before the work, so that it is
// not done in vain.
absl::Status CheckDestination(const std::string& path, const Contents& contents,
                              PipeFormat pipe);

absl::Status WriteTensors(OutputFile& file,
                          std::span<const NamedTensor> tensors,
                          PipeFormat pipe);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_TENSOR_FILE_H_
