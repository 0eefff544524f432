// A prepared statement of SQLite, and what its errors are called here.
#ifndef BATCHNORMD_SERVER_STORAGE_SQLITE_STATEMENT_H_
#define BATCHNORMD_SERVER_STORAGE_SQLITE_STATEMENT_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace batchnorm::storage {

// RESOURCE_EXHAUSTED for a full disk, DATA_LOSS for a damaged file, UNAVAILABLE
// for what the file system refuses, INTERNAL for the rest. REQUIRES: `code` is
// an (extended) error code.
absl::Status SqliteError(int code);

// Whether SqliteError made it of an error of reading or writing the file.
bool IsIoError(const absl::Status& status);

// Thread-compatible; belongs to one connection, which outlives it.
class SqliteStatement {
 public:
  // An empty one, to be assigned to.
  SqliteStatement() = default;
  static absl::StatusOr<SqliteStatement> Prepare(sqlite3* connection,
                                                 std::string_view sql);

  // Values for ?1, ?2, ... until the next Reset. Blobs must live until then.
  void BindInteger(int index, std::int64_t value);
  void BindBlob(int index, std::string_view bytes);

  // True if there is a row, false at the end.
  absl::StatusOr<bool> Step();
  // For statements without rows. Resets.
  absl::Status Run();
  // Ready to be run again. Forgets all values.
  void Reset();

  bool IsNull(int column) const;
  std::int64_t Integer(int column) const;
  std::string Blob(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const {
      sqlite3_finalize(statement);
    }
  };
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_SQLITE_STATEMENT_H_
