// The inputs that all sessions keep for Backward, within one number of bytes.
// Where a new one does not fit, those used least recently go first, whichever
// session they belong to.
//
// Thread-safe. One mutex, held for bookkeeping only: never while bytes are
// copied, computed with or freed. It is a leaf: no other lock is taken under
// it, so it may be used under a session's lock.
#ifndef BATCHNORMD_SERVER_SESSION_INPUT_QUOTA_H_
#define BATCHNORMD_SERVER_SESSION_INPUT_QUOTA_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "server/session/kept_input.h"

namespace batchnorm::session {

class InputQuota {
 public:
  // One session's part of the quota.
  struct Account {
    std::atomic<std::int64_t> x_bytes = 0;        // kept now
    std::atomic<std::int64_t> evicted_count = 0;  // ever, to make room
  };

  using Input = std::shared_ptr<const KeptInput>;

  // The right to an input. It does not hold the input: that may be evicted at
  // any time. Gives the room back when it is destroyed. Must not outlive the
  // quota. Thread-compatible.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket();

    // The input, which now counts as used last; null if it was evicted, or if
    // the ticket is empty.
    Input Use() const;

    // Gives the room back and returns the input, if it was still there, so
    // that the caller can free it outside its locks.
    Input Release();

   private:
    friend class InputQuota;
    Ticket(InputQuota* quota, std::uint64_t id) : quota_(quota), id_(id) {}

    InputQuota* quota_ = nullptr;
    std::uint64_t id_ = 0;
  };

  struct Kept {
    Ticket ticket;  // empty if the input alone exceeds the quota
    // What had to go: to be freed outside the caller's locks.
    std::vector<Input> evicted;
  };

  explicit InputQuota(std::int64_t max_bytes);

  Kept Keep(Input input, std::shared_ptr<Account> account);

  std::int64_t used_bytes() const;
  // Of all sessions, ever.
  std::int64_t evicted_count() const { return evicted_count_; }

 private:
  struct Entry {
    std::uint64_t id;
    Input input;
    std::shared_ptr<Account> account;
  };
  using Entries = std::list<Entry>;

  Input Use(std::uint64_t id);
  Input Drop(std::uint64_t id);

  // REQUIRES: mutex_ is held.
  Input Remove(Entries::iterator entry);

  const std::int64_t max_bytes_;  // constant
  std::atomic<std::int64_t> evicted_count_ = 0;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Entries entries_;  // least recently used first
  std::unordered_map<std::uint64_t, Entries::iterator> by_id_;
  std::int64_t used_bytes_ = 0;
  std::uint64_t last_id_ = 0;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_INPUT_QUOTA_H_
