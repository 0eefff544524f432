// An open file of SQLite with this program's table in it.
#ifndef BATCHNORMD_SERVER_STORAGE_SQLITE_CONNECTION_H_
#define BATCHNORMD_SERVER_STORAGE_SQLITE_CONNECTION_H_

#include <sqlite3.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/storage/sqlite_store.h"

namespace batchnorm::storage {

struct CloseSqlite {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
};
using SqliteConnection = std::unique_ptr<sqlite3, CloseSqlite>;

// Makes the file if there is none. FAILED_PRECONDITION for a file of another
// program or of a newer version of this one.
absl::StatusOr<SqliteConnection> OpenForWriting(const SqliteOptions& options);

// REQUIRES: OpenForWriting was there before.
absl::StatusOr<SqliteConnection> OpenForReading(const SqliteOptions& options);

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_SQLITE_CONNECTION_H_
