// Files that hold secrets, or what goes with them. Errors name the file, never
// what is in it.
#ifndef BATCHNORMD_SERVER_ACCESS_SECRET_FILE_H_
#define BATCHNORMD_SERVER_ACCESS_SECRET_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace batchnorm::access {

// All of a file of at most 1 MiB. INVALID_ARGUMENT if it cannot be read.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Whether users other than its owner and group may read the file.
bool IsReadableByOthers(const std::string& path);

}  // namespace batchnorm::access

#endif  // BATCHNORMD_SERVER_ACCESS_SECRET_FILE_H_
