// A store that remembers each transaction, so that another can make the same.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_STORE_RECORDING_STORE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_STORE_RECORDING_STORE_H_

#include <memory>
#include <utility>
#include <vector>

#include "server/storage/store.h"

namespace batchnorm::benchmark {

using Batch = std::vector<storage::Write>;

class RecordingStore : public storage::Store {
 public:
  explicit RecordingStore(std::unique_ptr<storage::Store> store)
      : store_(std::move(store)) {}

  // One transaction at a time: of one committer.
  absl::StatusOr<std::vector<storage::Outcome>> Commit(
      std::span<const storage::Write> writes) override {
    batches_.emplace_back(writes.begin(), writes.end());
    return store_->Commit(writes);
  }

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

  // Not while commits are under way.
  std::vector<Batch> TakeBatches() { return std::exchange(batches_, {}); }

 private:
  const std::unique_ptr<storage::Store> store_;
  std::vector<Batch> batches_;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_STORE_RECORDING_STORE_H_
