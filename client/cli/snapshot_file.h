// A session in a file: what PyTorch calls a batch-norm layer's buffers, and
// beside them what this service knows (README.md, "Files of sessions").
//
//   running_mean, running_var   F64 [channels]
//   num_batches_tracked         I64 []
//   batchnormd.*                strings: in a .safetensors file its metadata,
//                               in an .npz file JSON in the bytes of the member
//                               `batchnormd`
//
// Functions are pure and thread-safe; errors are diagnoses.
#ifndef BATCHNORMD_CLIENT_CLI_SNAPSHOT_FILE_H_
#define BATCHNORMD_CLIENT_CLI_SNAPSHOT_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/tensor_file.h"
#include "client/types.h"

namespace batchnorm::cli {

struct LoadedSnapshot {
  client::SessionSnapshot snapshot;
  // Whether the file is of this service: else it has statistics alone, and the
  // configuration is the default for their channels.
  bool is_ours = false;
  std::vector<std::string> notes;  // for people
};

// kNpz or kSafetensors; a diagnosis for a path of another kind. "-" is
// .safetensors.
absl::StatusOr<FileFormat> SnapshotFormat(std::string_view path);

absl::StatusOr<std::string> EncodeSnapshot(
    const client::SessionSnapshot& snapshot, FileFormat format);

// `prefix` is what the layer's names begin with in a file of several layers,
// with or without the dot at its end; empty: the only layer there is.
absl::StatusOr<LoadedSnapshot> ParseSnapshot(std::string_view bytes,
                                             FileFormat format,
                                             std::string_view prefix);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SNAPSHOT_FILE_H_
