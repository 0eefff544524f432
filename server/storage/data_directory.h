// The folder that one server keeps its rows in, and no other at the same time.
#ifndef BATCHNORMD_SERVER_STORAGE_DATA_DIRECTORY_H_
#define BATCHNORMD_SERVER_STORAGE_DATA_DIRECTORY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace batchnorm::storage {

// Holds the folder's lock as long as it lives; a killed process lets go of it.
class DataDirectory {
 public:
  // Makes the folder, for its owner alone, if it is not there. UNAVAILABLE if
  // that or the lock cannot be made, FAILED_PRECONDITION if another process has
  // it. Texts name the path: they are for whoever starts the server.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(
      const std::string& path);
  ~DataDirectory();

  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  // Of the file of sessions in it.
  std::string SessionsPath() const { return path_ + "/sessions.db"; }

 private:
  DataDirectory(std::string path, int lock);

  const std::string path_;
  const int lock_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_DATA_DIRECTORY_H_
