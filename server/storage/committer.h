// One thread that commits what many sessions write, together.
//
// While a transaction is under way, the writes that arrive wait for the next
// one: a lone writer waits for one commit, and many share the cost of each. No
// time is spent waiting for company.
#ifndef BATCHNORMD_SERVER_STORAGE_COMMITTER_H_
#define BATCHNORMD_SERVER_STORAGE_COMMITTER_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/storage/store.h"

namespace batchnorm::storage {

// Thread-safe.
class Committer {
 public:
  // The write's outcome, or the store's error for all writes of a transaction.
  // Runs on the committer's thread and should be short.
  using Done = std::function<void(absl::StatusOr<Outcome>)>;

  // Whose thread waits for the store: that of Commit's caller if the store
  // never waits itself.
  enum class Where : std::uint8_t { kOwnThread, kCaller };

  // Whether the store lasts no longer than the process.
  bool is_volatile() const { return where_ == Where::kCaller; }

  // `store` outlives it.
  explicit Committer(Store& store, Where where = Where::kOwnThread);
  // Commits what was given to it, then ends.
  ~Committer();

  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // Returns at once, unless it commits by itself. Writes are committed in the
  // order of these calls.
  void Commit(Write write, Done done);

 private:
  void Work();
  void CommitTogether(std::span<const Write> writes,
                      std::span<const Done> dones);

  Store& store_;
  const Where where_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  // Guarded by mutex_.
  bool stopped_ = false;
  std::vector<Write> writes_;
  std::vector<Done> dones_;
  std::thread thread_;  // none where the caller commits
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_COMMITTER_H_
