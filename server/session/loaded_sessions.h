// The sessions that are in memory, by name, and which of them to give up when
// they take too much of it.
//
// Thread-safe; a lookup takes a shared lock only.
#ifndef BATCHNORMD_SERVER_SESSION_LOADED_SESSIONS_H_
#define BATCHNORMD_SERVER_SESSION_LOADED_SESSIONS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "server/session/session.h"

namespace batchnorm::session {

class LoadedSessions {
 public:
  explicit LoadedSessions(std::int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Null if it is not in memory.
  std::shared_ptr<Session> Find(std::string_view name) const;
  // The same, and notes that it is used now.
  std::shared_ptr<Session> Use(std::string_view name, absl::Time now) const;

  // Takes the place of another one of its name. Gives up others that nobody
  // uses, if need be.
  void Insert(const std::shared_ptr<Session>& session, absl::Time now);

  // Removes this session, unless another one has its name by now.
  void Remove(const Session& session);

  // Those that have not been used since.
  std::vector<std::shared_ptr<Session>> UnusedSince(absl::Time limit) const;

  std::int64_t count() const;

 private:
  struct Entry {
    std::shared_ptr<Session> session;
    std::int64_t bytes;
    // A lookup sets it under the shared lock.
    mutable std::atomic<std::int64_t> used_at;

    Entry(std::shared_ptr<Session> loaded, absl::Time now);
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using ByName = std::unordered_map<std::string, Entry, Hash, std::equal_to<>>;

  // REQUIRES: mutex_ is held. Returns what has to be freed.
  std::vector<std::shared_ptr<Session>> MakeRoom();
  void Erase(ByName::iterator entry);

  const std::int64_t max_bytes_;

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  ByName by_name_;
  std::int64_t bytes_ = 0;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_LOADED_SESSIONS_H_
