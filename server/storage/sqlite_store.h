// Rows in one file of SQLite: the embedded store.
//
// In write-ahead mode. A commit appends its pages to the log and, with
// Durability::kFull, waits until they are on the disk: what Commit said is done
// survives a killed process and a power failure, as far as the disk honours a
// flush. Reading does not wait for commits.
//
// After an I/O error while writing, the store refuses everything: what the
// system lost between its cache and the disk cannot be told (fsync reports a
// loss once and then forgets it). Opening the file anew reads what is really
// there.
#ifndef BATCHNORMD_SERVER_STORAGE_SQLITE_STORE_H_
#define BATCHNORMD_SERVER_STORAGE_SQLITE_STORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "server/storage/store.h"

namespace batchnorm::storage {

// What a commit that was done survives.
enum class Durability : std::uint8_t {
  kFull,    // power failure
  kNormal,  // a killed process; a power failure may undo the last ones
  kOff,     // a killed process; a power failure may damage the file
};

struct SqliteOptions {
  std::string path;  // of the file; its folder exists
  Durability durability = Durability::kFull;
  // What the log of commits takes of the disk from the start, with kFull
  // (log_room.h). It is longer only if one commit is.
  std::int64_t log_room = 0;
  // Called once, on the thread of the call that met it, when an I/O error has
  // made the store refuse everything.
  std::function<void()> on_broken = [] {};
};

// Thread-safe.
class SqliteStore : public Store {
 public:
  // FAILED_PRECONDITION for a file of another program or of a newer version of
  // this one; else as the functions below.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      const SqliteOptions& options);
  ~SqliteStore() override;

  absl::StatusOr<std::optional<Row>> Load(std::string_view key) override;
  absl::StatusOr<std::vector<Outcome>> Commit(
      std::span<const Write> writes) override;
  absl::StatusOr<Outcome> Erase(std::string_view key,
                                std::uint64_t incarnation) override;
  absl::StatusOr<std::vector<Row>> Scan(std::string_view from,
                                        std::size_t limit) override;
  absl::StatusOr<std::int64_t> Count() override;

 private:
  struct Writer;
  struct Reader;
  explicit SqliteStore(std::function<void()> on_broken);

  // All of these REQUIRE that the writer's mutex is held.
  absl::StatusOr<std::vector<Outcome>> Apply(std::span<const Write> writes);
  absl::StatusOr<Outcome> ApplyOne(const Write& write);
  absl::Status EndTransaction(absl::Status applied);
  absl::Status Checkpoint();

  absl::Status CheckUsable() const;
  absl::Status Noted(absl::Status status);

  const std::function<void()> on_broken_;
  std::atomic<bool> is_broken_ = false;
  std::mutex write_mutex_;
  std::unique_ptr<Writer> writer_;
  std::mutex read_mutex_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_SQLITE_STORE_H_
