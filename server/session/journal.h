// One session's row in the store: writes it when the session has changed, and
// tells who waits when the change they wait for lasts.
//
// One write at a time. What changes while one is under way goes into the next,
// all together: so a step waits for at most one commit before its own, and a
// session that is faster than its store writes only its latest state.
//
// After an error or a conflict it is not known what the store holds. Then all
// who wait are told, and status() stays an error: the session must be loaded
// anew.
#ifndef BATCHNORMD_SERVER_SESSION_JOURNAL_H_
#define BATCHNORMD_SERVER_SESSION_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/spread.h"
#include "server/storage/committer.h"
#include "server/storage/store.h"

namespace batchnorm::session {

// Thread-safe.
class Journal {
 public:
  // A session counts its changes; what it was loaded with is change 0.
  using Change = std::uint64_t;

  struct Entry {
    Change change = 0;  // the last one that is in the write
    storage::Write write;
  };
  // The session as it is now, to be written over `expected`, which has all
  // changes up to `lasting`.
  using Describe =
      std::function<Entry(storage::Version expected, Change lasting)>;
  using Done = std::function<void(const absl::Status&)>;

  // `version` is the row's in the store, with number 0 if there is none.
  // `committer` and `answer` outlive it.
  Journal(storage::Committer& committer, const Run& answer,
          storage::Version version, Describe describe);

  // Begins to write `change`, unless a write is under way that will be followed
  // by one with it. `session` is kept alive meanwhile. Not under the session's
  // lock.
  void Write(Change change, const std::shared_ptr<const void>& session);

  // Calls `done` when `change` lasts, at once if it does, else on the
  // committer's thread, or by `answer`; with an error if it may not have been
  // stored. Nobody waits for a volatile store.
  // REQUIRES: Write was called with it, unless the store is volatile.
  void WhenItLasts(Change change, Done done);

  // The store lasts no longer than the session's own memory: those who are told
  // of a change are no safer when it is stored, too.
  bool is_volatile() const { return committer_.is_volatile(); }

  // UNAVAILABLE `STORE_FAILED` if the store may not hold what memory does.
  absl::Status status() const;

  std::uint64_t incarnation() const { return version_.incarnation; }

 private:
  struct Waiter {
    Change change;
    Done done;
  };

  void Begin(const std::shared_ptr<const void>& session);
  void OnWritten(Change change, const absl::StatusOr<storage::Outcome>& outcome,
                 const std::shared_ptr<const void>& session);
  std::vector<Waiter> TakeReady();

  storage::Committer& committer_;
  const Run& answer_;
  const Describe describe_;

  mutable std::mutex mutex_;
  // Guarded by mutex_; the one writer there is also reads these two.
  storage::Version version_;
  Change lasting_ = 0;
  Change wanted_ = 0;
  bool is_writing_ = false;
  absl::Status status_;
  std::vector<Waiter> waiters_;
};

// What a failing store is to a caller: DATA_LOSS `SESSION_DAMAGED` for damage,
// else UNAVAILABLE `STORE_FAILED`.
absl::Status StoreFailed(const absl::Status& status, std::string_view session);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_JOURNAL_H_
