#include "tests/benchmarks/store/bare_sqlite.h"

#include <sqlite3.h>

#include <memory>
#include <stdexcept>
#include <thread>

namespace batchnorm::benchmark {
namespace {

class Connection {
 public:
  explicit Connection(const std::string& path) {
    Check(sqlite3_open(path.c_str(), &connection_));
    Run("PRAGMA journal_mode=WAL");
    Run("PRAGMA synchronous=FULL");
    Run("CREATE TABLE rows (key BLOB NOT NULL PRIMARY KEY, number INTEGER NOT "
        "NULL, header BLOB NOT NULL, body BLOB NOT NULL)");
    Check(sqlite3_prepare_v2(connection_,
                             "INSERT INTO rows VALUES (?1, 1, ?2, ?3)", -1,
                             &insert_, nullptr));
    Check(sqlite3_prepare_v2(connection_,
                             "UPDATE rows SET number = number + 1, header = ?2,"
                             " body = ?3 WHERE key = ?1",
                             -1, &update_, nullptr));
  }

  ~Connection() {
    sqlite3_finalize(insert_);
    sqlite3_finalize(update_);
    sqlite3_close(connection_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Make(std::span<const Batch> batches) {
    for (const Batch& batch : batches) {
      Run("BEGIN IMMEDIATE");
      for (const storage::Write& write : batch) Put(write);
      Run("COMMIT");
    }
  }

 private:
  void Put(const storage::Write& write) {
    sqlite3_stmt* const statement =
        write.expected.number == 0 ? insert_ : update_;
    Bind(statement, 1, write.key);
    Bind(statement, 2, write.header);
    Bind(statement, 3, write.body);
    if (sqlite3_step(statement) != SQLITE_DONE) Check(SQLITE_ERROR);
    Check(sqlite3_reset(statement));
  }

  void Bind(sqlite3_stmt* statement, int index, const std::string& bytes) {
    Check(sqlite3_bind_blob64(statement, index, bytes.data(), bytes.size(),
                              SQLITE_STATIC));
  }

  void Run(const char* sql) {
    Check(sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr));
  }

  void Check(int code) {
    if (code == SQLITE_OK) return;
    throw std::runtime_error(std::string("SQLite: ") +
                             sqlite3_errmsg(connection_));
  }

  sqlite3* connection_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
  sqlite3_stmt* update_ = nullptr;
};

}  // namespace

double SecondsOfBareSqlite(const std::string& path, std::span<const Batch> made,
                           std::span<const Batch> batches,
                           std::chrono::duration<double> pause) {
  using Clock = std::chrono::steady_clock;
  Connection connection(path);
  connection.Make(made);
  std::chrono::duration<double> taken(0);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto begin = Clock::now();
    connection.Make(batches.subspan(i, 1));
    taken += Clock::now() - begin;
  }
  return taken.count();
}

}  // namespace batchnorm::benchmark
