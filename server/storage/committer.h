// One thread that commits what many sessions write, together.
//
// While a transaction is under way, the writes that arrive wait for the next
// one: a lone writer waits for one commit, and many share the cost of each. No
// time is spent waiting for company.
#ifndef BATCHNORMD_SERVER_STORAGE_COMMITTER_H_
#define BATCHNORMD_SERVER_STORAGE_COMMITTER_H_

#include <condition_variable>
#include <functional>
#include <mutex>
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

  // `store` outlives it.
  explicit Committer(Store& store);
  // Commits what was given to it, then ends.
  ~Committer();

  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // Returns at once. Writes are committed in the order of these calls.
  void Commit(Write write, Done done);

 private:
  void Work();
  void CommitTogether(const std::vector<Write>& writes,
                      const std::vector<Done>& dones);

  Store& store_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  // Guarded by mutex_.
  bool stopped_ = false;
  std::vector<Write> writes_;
  std::vector<Done> dones_;
  std::thread thread_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_COMMITTER_H_
