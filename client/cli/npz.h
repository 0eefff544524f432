// NumPy's .npz: a zip archive of .npy files (npy.h), one a member `NAME.npy`.
//
// Members may be stored or deflated; zip64 is read and, where needed, written.
// Pure and thread-safe; any bytes may be given. What an archive expands to is
// bounded (MostExpandedBytes), so that a small file cannot fill the memory.
#ifndef BATCHNORMD_CLIENT_CLI_NPZ_H_
#define BATCHNORMD_CLIENT_CLI_NPZ_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/cli/named_tensor.h"

namespace batchnorm::cli {

// 1 GiB, or 16 times the archive's own size where that is more: real data
// deflate by less, and constant arrays are rarely larger.
std::uint64_t MostExpandedBytes(std::uint64_t archive_bytes);

// Members that are not .npy files are skipped, as numpy.load does; those that
// the options say so of are read as integers.
absl::StatusOr<Archive> ParseNpz(std::string_view bytes,
                                 const ReadOptions& options = {});

// Stored, not deflated, and dated 1980: the same tensors give the same bytes.
absl::StatusOr<std::string> EncodeNpz(std::span<const NamedTensor> tensors);

// The same of tensors and integers. REQUIRES: metadata is empty, since an npz
// has no place for it.
absl::StatusOr<std::string> EncodeNpz(const Archive& archive);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_NPZ_H_
