// Where this server's sessions are stored, opened from what the flags say.
#ifndef BATCHNORMD_SERVER_SESSION_PLACE_H_
#define BATCHNORMD_SERVER_SESSION_PLACE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/storage/data_directory.h"
#include "server/storage/sqlite_store.h"

namespace batchnorm {

struct StorageOptions {
  bool in_memory = false;
  // Empty: the folder for state that the system or the user has, see
  // DefaultDataDirectory.
  std::string data_directory;
  storage::Durability durability = storage::Durability::kFull;
  std::int64_t log_room = std::int64_t{17} << 20;  // all it ever needs, nearly
};

// $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/batchnormd, else
// ~/.local/state/batchnormd; empty if there is none of them.
std::string DefaultDataDirectory();

class SessionPlace {
 public:
  using Wrap = std::function<std::unique_ptr<storage::Store>(
      std::unique_ptr<storage::Store>)>;

  // Takes the data directory, and gives the store to `wrap`. INVALID_ARGUMENT
  // without any directory, else as DataDirectory and SqliteStore.
  static absl::StatusOr<std::unique_ptr<SessionPlace>> Open(
      const StorageOptions& options, const Wrap& wrap);

  // Null: in memory only.
  storage::Store* store() const { return store_.get(); }

  // What is promised, a sentence for the log.
  const std::string& promise() const { return promise_; }

  // Whether the store has failed for good. When it does, the process gets a
  // SIGTERM: it serves nobody any more, and a restart reads what is stored.
  bool is_broken() const { return is_broken_; }

 private:
  SessionPlace() = default;
  absl::Status OpenSqlite(const StorageOptions& options, const Wrap& wrap);
  void Break();

  std::string promise_;
  std::atomic<bool> is_broken_ = false;
  std::unique_ptr<storage::DataDirectory> directory_;
  std::unique_ptr<storage::Store> store_;  // in directory_
};

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_SESSION_PLACE_H_
