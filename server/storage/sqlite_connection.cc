#include "server/storage/sqlite_connection.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/storage/log_room.h"
#include "server/storage/sqlite_statement.h"

namespace batchnorm::storage {
namespace {

constexpr std::int64_t kApplicationId = 0x626e6d64;  // "bnmd"
constexpr std::int64_t kFormat = 2;                  // 1 had no parts

// Keys are compared as bytes. Bodies come last: a scan does not read their
// pages.
constexpr char kSchema[] =
    "CREATE TABLE rows ("
    " key BLOB NOT NULL PRIMARY KEY,"
    " incarnation INTEGER NOT NULL,"
    " number INTEGER NOT NULL,"
    " header BLOB NOT NULL,"
    " body BLOB NOT NULL)";

constexpr char kPartsSchema[] =
    "CREATE TABLE parts ("
    " key BLOB NOT NULL,"
    " number INTEGER NOT NULL,"
    " bytes BLOB NOT NULL,"
    " PRIMARY KEY (key, number))";

const char* SynchronousOf(Durability durability) {
  switch (durability) {
    case Durability::kFull:
      return "PRAGMA synchronous=FULL";
    case Durability::kNormal:
      return "PRAGMA synchronous=NORMAL";
    case Durability::kOff:
      return "PRAGMA synchronous=OFF";
  }
  return "";
}

absl::Status Execute(sqlite3* connection, const std::string& sql) {
  const int code =
      sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_OK) return absl::OkStatus();
  return SqliteError(sqlite3_extended_errcode(connection));
}

absl::StatusOr<std::int64_t> IntegerOf(sqlite3* connection,
                                       std::string_view sql) {
  auto statement = SqliteStatement::Prepare(connection, sql);
  if (!statement.ok()) return statement.status();
  const absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  return *row ? statement->Integer(0) : 0;
}

absl::StatusOr<SqliteConnection> Open(const SqliteOptions& options, int flags) {
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(
      options.path.c_str(), &opened,
      flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  SqliteConnection connection(opened);
  if (code != SQLITE_OK) return SqliteError(code);
  // Another connection of this server is at work for a moment at most.
  sqlite3_busy_timeout(opened, 10'000);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  return connection;
}

// A new file is empty; another one is this program's, of a format it knows.
absl::Status CheckOrMakeSchema(sqlite3* connection) {
  const auto id = IntegerOf(connection, "PRAGMA application_id");
  if (!id.ok()) return id.status();
  const auto format = IntegerOf(connection, "PRAGMA user_version");
  if (!format.ok()) return format.status();
  const auto tables =
      IntegerOf(connection, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  if (*tables == 0 && *id == 0) {
    return Execute(connection,
                   absl::StrCat("BEGIN;", kSchema, ";", kPartsSchema,
                                ";PRAGMA application_id=", kApplicationId,
                                ";PRAGMA user_version=", kFormat, ";COMMIT"));
  }
  if (*id != kApplicationId) {
    return absl::FailedPreconditionError(
        "the store: the file belongs to another program");
  }
  if (*format > kFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the store: expected format ", kFormat, " or older, the file has ",
        *format, ", of a newer version of this program"));
  }
  if (*format < kFormat) {
    return Execute(connection,
                   absl::StrCat("BEGIN;", kPartsSchema,
                                ";PRAGMA user_version=", kFormat, ";COMMIT"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SqliteConnection> OpenForWriting(const SqliteOptions& options) {
  auto connection = Open(options, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (!connection.ok()) return connection.status();
  // The log is made part of the file by the store itself, which looks at what
  // comes of it.
  for (const char* pragma :
       {"PRAGMA journal_mode=WAL", SynchronousOf(options.durability),
        "PRAGMA wal_autocheckpoint=0", "PRAGMA cell_size_check=ON"}) {
    absl::Status set = Execute(connection->get(), pragma);
    if (!set.ok()) return set;
  }
  absl::Status made = CheckOrMakeSchema(connection->get());
  if (!made.ok()) return made;
  if (options.durability == Durability::kFull) {
    TakeLogRoom(options.path + "-wal", options.log_room);
  }
  return connection;
}

absl::StatusOr<SqliteConnection> OpenForReading(const SqliteOptions& options) {
  auto connection = Open(options, SQLITE_OPEN_READWRITE);
  if (!connection.ok()) return connection.status();
  absl::Status set = Execute(connection->get(), "PRAGMA query_only=ON");
  if (!set.ok()) return set;
  return connection;
}

}  // namespace batchnorm::storage
