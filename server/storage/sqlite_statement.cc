#include "server/storage/sqlite_statement.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace batchnorm::storage {
namespace {

constexpr char kIoError[] = "batchnorm.storage.io_error";

absl::Status IoError(const std::string& text) {
  absl::Status status = absl::UnavailableError(text);
  status.SetPayload(kIoError, absl::Cord());
  return status;
}

}  // namespace

bool IsIoError(const absl::Status& status) {
  return status.GetPayload(kIoError).has_value();
}

absl::Status SqliteError(int code) {
  // The texts of codes, unlike those of connections, name no files.
  const std::string text = absl::StrCat("the store: ", sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    case SQLITE_IOERR:
      return IoError(text);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::StatusOr<SqliteStatement> SqliteStatement::Prepare(sqlite3* connection,
                                                         std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(connection, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) {
    return SqliteError(sqlite3_extended_errcode(connection));
  }
  return SqliteStatement(statement);
}

void SqliteStatement::BindInteger(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
}

void SqliteStatement::BindBlob(int index, std::string_view bytes) {
  // A null pointer would bind NULL.
  const char* const data = bytes.empty() ? "" : bytes.data();
  sqlite3_bind_blob64(statement_.get(), index, data, bytes.size(),
                      SQLITE_STATIC);
}

absl::StatusOr<bool> SqliteStatement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(
      sqlite3_extended_errcode(sqlite3_db_handle(statement_.get())));
}

absl::Status SqliteStatement::Run() {
  const absl::StatusOr<bool> row = Step();
  Reset();
  return row.status();
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

bool SqliteStatement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

std::int64_t SqliteStatement::Integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string SqliteStatement::Blob(int column) const {
  const void* const data = sqlite3_column_blob(statement_.get(), column);
  const auto size =
      static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return data == nullptr ? std::string()
                         : std::string(static_cast<const char*>(data), size);
}

}  // namespace batchnorm::storage
