// A new folder that goes away with its contents.
#ifndef BATCHNORMD_TESTS_UNIT_STORAGE_TEMPORARY_FOLDER_H_
#define BATCHNORMD_TESTS_UNIT_STORAGE_TEMPORARY_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace batchnorm::storage {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "storage-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << name;
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string File(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_TESTS_UNIT_STORAGE_TEMPORARY_FOLDER_H_
