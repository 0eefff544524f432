#include "server/storage/sqlite_store.h"

#include <bit>
#include <utility>

#include "server/storage/sqlite_connection.h"
#include "server/storage/sqlite_statement.h"

namespace batchnorm::storage {
namespace {

// Pages of the log after which they are copied into the file: 16 MiB.
constexpr int kCheckpointPages = 4096;

std::int64_t ToSql(std::uint64_t value) {
  return std::bit_cast<std::int64_t>(value);
}
std::uint64_t FromSql(std::int64_t value) {
  return std::bit_cast<std::uint64_t>(value);
}

// Keeps how long the log is in *pages.
int OnCommit(void* pages, sqlite3*, const char*, int pages_in_log) {
  *static_cast<int*>(pages) = pages_in_log;
  return SQLITE_OK;
}

struct Prepared {
  SqliteStatement& statement;
  const char* sql;
};

absl::Status PrepareAll(sqlite3* connection,
                        std::initializer_list<Prepared> all) {
  for (const Prepared& one : all) {
    auto statement = SqliteStatement::Prepare(connection, one.sql);
    if (!statement.ok()) return statement.status();
    one.statement = *std::move(statement);
  }
  return absl::OkStatus();
}

// Resets a statement at the end of a scope, so that it holds no lock.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(SqliteStatement& statement) : statement_(statement) {}
  ~ResetAtEnd() { statement_.Reset(); }
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;

 private:
  SqliteStatement& statement_;
};

}  // namespace

// Statements end before their connection, hence the order of members.
struct SqliteStore::Writer {
  absl::Status Prepare() {
    sqlite3_wal_hook(connection.get(), OnCommit, &log_pages);
    return PrepareAll(
        connection.get(),
        {{begin, "BEGIN IMMEDIATE"},
         {commit, "COMMIT"},
         {rollback, "ROLLBACK"},
         {insert,
          "INSERT INTO rows (key, incarnation, number, header, body)"
          " VALUES (?1, ?2, 1, ?3, ?4) ON CONFLICT DO NOTHING"},
         {update,
          "UPDATE rows SET number = number + 1, header = ?3, body = ?4"
          " WHERE key = ?1 AND incarnation = ?2 AND number = ?5"},
         {put_part,
          // Not OR REPLACE, which would move the part and so write three times
          // as many pages.
          "INSERT INTO parts (key, number, bytes) VALUES (?1, ?2, ?3)"
          " ON CONFLICT (key, number) DO UPDATE SET bytes = excluded.bytes"},
         {erase, "DELETE FROM rows WHERE key = ?1 AND incarnation = ?2"},
         {erase_parts, "DELETE FROM parts WHERE key = ?1"}});
  }

  SqliteConnection connection;
  int log_pages = 0;
  SqliteStatement begin, commit, rollback, insert, update, put_part, erase,
      erase_parts;
};

struct SqliteStore::Reader {
  absl::Status Prepare() {
    return PrepareAll(
        connection.get(),
        {{load,
          "SELECT incarnation, rows.number, header, body, parts.number, bytes"
          " FROM rows LEFT JOIN parts ON parts.key = rows.key"
          " WHERE rows.key = ?1 ORDER BY parts.number"},
         {scan,
          "SELECT key, incarnation, number, header FROM rows"
          " WHERE key >= ?1 ORDER BY key LIMIT ?2"},
         {count, "SELECT count(*) FROM rows"}});
  }

  SqliteConnection connection;
  SqliteStatement load, scan, count;
};

SqliteStore::SqliteStore(std::function<void()> on_broken)
    : on_broken_(std::move(on_broken)) {}
SqliteStore::~SqliteStore() = default;

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(
    const SqliteOptions& options) {
  auto writing = OpenForWriting(options);
  if (!writing.ok()) return writing.status();
  auto reading = OpenForReading(options);
  if (!reading.ok()) return reading.status();
  std::unique_ptr<SqliteStore> store(new SqliteStore(options.on_broken));
  store->writer_ = std::make_unique<Writer>();
  store->writer_->connection = *std::move(writing);
  store->reader_ = std::make_unique<Reader>();
  store->reader_->connection = *std::move(reading);
  absl::Status prepared = store->writer_->Prepare();
  if (prepared.ok()) prepared = store->reader_->Prepare();
  if (!prepared.ok()) return prepared;
  return store;
}

// ---- Writing

absl::StatusOr<std::vector<Outcome>> SqliteStore::Commit(
    std::span<const Write> writes) {
  const std::lock_guard lock(write_mutex_);
  absl::Status ready = CheckUsable();
  if (ready.ok()) ready = writer_->begin.Run();
  if (!ready.ok()) return Noted(ready);
  auto outcomes = Apply(writes);
  absl::Status ended = EndTransaction(outcomes.status());
  if (!ended.ok()) return Noted(ended);
  return outcomes;
}

absl::StatusOr<std::vector<Outcome>> SqliteStore::Apply(
    std::span<const Write> writes) {
  std::vector<Outcome> outcomes;
  outcomes.reserve(writes.size());
  for (const Write& write : writes) {
    const absl::StatusOr<Outcome> outcome = ApplyOne(write);
    if (!outcome.ok()) return outcome.status();
    outcomes.push_back(*outcome);
  }
  return outcomes;
}

absl::StatusOr<Outcome> SqliteStore::ApplyOne(const Write& write) {
  const bool is_new = write.expected.number == 0;
  SqliteStatement& statement = is_new ? writer_->insert : writer_->update;
  statement.BindBlob(1, write.key);
  statement.BindInteger(2, ToSql(write.expected.incarnation));
  statement.BindBlob(3, write.header);
  statement.BindBlob(4, write.body);
  if (!is_new) statement.BindInteger(5, ToSql(write.expected.number));
  absl::Status done = statement.Run();
  if (!done.ok()) return done;
  if (sqlite3_changes(writer_->connection.get()) != 1) {
    return Outcome::kConflict;
  }
  for (const Part& part : write.parts) {
    writer_->put_part.BindBlob(1, write.key);
    writer_->put_part.BindInteger(2, part.number);
    writer_->put_part.BindBlob(3, part.bytes);
    done = writer_->put_part.Run();
    if (!done.ok()) return done;
  }
  return Outcome::kDone;
}

absl::Status SqliteStore::EndTransaction(absl::Status applied) {
  if (applied.ok()) applied = writer_->commit.Run();
  if (applied.ok()) return Checkpoint();
  // Some errors have ended the transaction already.
  if (sqlite3_get_autocommit(writer_->connection.get()) == 0) {
    (void)writer_->rollback.Run();
  }
  return applied;
}

// The commit stands whatever happens here, but a store whose file cannot be
// written must not go on: only an I/O error says so.
absl::Status SqliteStore::Checkpoint() {
  if (writer_->log_pages < kCheckpointPages) return absl::OkStatus();
  writer_->log_pages = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(writer_->connection.get(), nullptr,
                                SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK && IsIoError(SqliteError(code))) is_broken_ = true;
  return absl::OkStatus();
}

absl::StatusOr<Outcome> SqliteStore::Erase(std::string_view key,
                                           std::uint64_t incarnation) {
  const std::lock_guard lock(write_mutex_);
  absl::Status ready = CheckUsable();
  if (ready.ok()) ready = writer_->begin.Run();
  if (!ready.ok()) return Noted(ready);
  writer_->erase.BindBlob(1, key);
  writer_->erase.BindInteger(2, ToSql(incarnation));
  absl::Status erased = writer_->erase.Run();
  const bool changed = sqlite3_changes(writer_->connection.get()) == 1;
  if (erased.ok() && changed) {
    writer_->erase_parts.BindBlob(1, key);
    erased = writer_->erase_parts.Run();
  }
  absl::Status ended = EndTransaction(erased);
  if (!ended.ok()) return Noted(ended);
  return changed ? Outcome::kDone : Outcome::kConflict;
}

absl::Status SqliteStore::CheckUsable() const {
  if (!is_broken_) return absl::OkStatus();
  return absl::UnavailableError(
      "the store: an earlier I/O error leaves it unknown what is on the disk; "
      "the server has to be restarted");
}

// Remembers an error after which nothing may be acknowledged any more.
absl::Status SqliteStore::Noted(absl::Status status) {
  if (IsIoError(status) && !is_broken_.exchange(true)) on_broken_();
  return status;
}

// ---- Reading

absl::StatusOr<std::optional<Row>> SqliteStore::Load(std::string_view key) {
  const std::lock_guard lock(read_mutex_);
  absl::Status usable = CheckUsable();
  if (!usable.ok()) return usable;
  SqliteStatement& load = reader_->load;
  const ResetAtEnd reset(load);
  load.BindBlob(1, key);
  // A line for each part; at least one.
  std::optional<Row> row;
  while (true) {
    const absl::StatusOr<bool> found = load.Step();
    if (!found.ok()) return found.status();
    if (!*found) return row;
    if (!row.has_value()) {
      row = Row{.key = std::string(key),
                .version = {FromSql(load.Integer(0)), FromSql(load.Integer(1))},
                .header = load.Blob(2),
                .body = load.Blob(3)};
    }
    if (load.IsNull(4)) continue;
    row->parts.push_back(
        {static_cast<std::uint32_t>(load.Integer(4)), load.Blob(5)});
  }
}

absl::StatusOr<std::vector<Row>> SqliteStore::Scan(std::string_view from,
                                                   std::size_t limit) {
  const std::lock_guard lock(read_mutex_);
  absl::Status usable = CheckUsable();
  if (!usable.ok()) return usable;
  SqliteStatement& scan = reader_->scan;
  const ResetAtEnd reset(scan);
  scan.BindBlob(1, from);
  scan.BindInteger(2, static_cast<std::int64_t>(limit));
  std::vector<Row> rows;
  while (true) {
    const absl::StatusOr<bool> found = scan.Step();
    if (!found.ok()) return found.status();
    if (!*found) return rows;
    rows.push_back(
        {.key = scan.Blob(0),
         .version = {FromSql(scan.Integer(1)), FromSql(scan.Integer(2))},
         .header = scan.Blob(3),
         .body = {}});
  }
}

absl::StatusOr<std::int64_t> SqliteStore::Count() {
  const std::lock_guard lock(read_mutex_);
  absl::Status usable = CheckUsable();
  if (!usable.ok()) return usable;
  SqliteStatement& count = reader_->count;
  const ResetAtEnd reset(count);
  const absl::StatusOr<bool> found = count.Step();
  if (!found.ok()) return found.status();
  return count.Integer(0);
}

}  // namespace batchnorm::storage
