// A store that fails where a plan says, to show what the server then promises.
#ifndef BATCHNORMD_TESTS_FAULT_FAULTY_STORE_H_
#define BATCHNORMD_TESTS_FAULT_FAULTY_STORE_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/storage/store.h"
#include "tests/fault/plan.h"

namespace batchnorm::fault {

// Thread-safe, as what it wraps.
class FaultyStore : public storage::Store {
 public:
  FaultyStore(std::unique_ptr<storage::Store> store, const Plan& plan);
  ~FaultyStore() override;

  absl::StatusOr<std::vector<storage::Outcome>> Commit(
      std::span<const storage::Write> writes) override;

  absl::StatusOr<std::optional<storage::Row>> Load(
      std::string_view key) override {
    return store_->Load(key);
  }
  absl::StatusOr<storage::Outcome> Erase(std::string_view key,
                                         std::uint64_t incarnation) override {
    return store_->Erase(key, incarnation);
  }
  absl::StatusOr<std::vector<storage::Row>> Scan(std::string_view from,
                                                 std::size_t limit) override {
    return store_->Scan(from, limit);
  }
  absl::StatusOr<std::int64_t> Count() override { return store_->Count(); }

 private:
  // The protection switched off: says yes first and commits later.
  std::vector<storage::Outcome> SayYes(std::span<const storage::Write> writes);
  void CommitLate();

  const std::unique_ptr<storage::Store> store_;
  const Plan plan_;
  std::atomic<int> commits_ = 0;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<storage::Write> late_;
  bool stopped_ = false;
  std::thread late_writer_;
};

}  // namespace batchnorm::fault

#endif  // BATCHNORMD_TESTS_FAULT_FAULTY_STORE_H_
