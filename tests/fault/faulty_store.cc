#include "tests/fault/faulty_store.h"

#include <chrono>
#include <thread>
#include <utility>

namespace batchnorm::fault {
namespace {

constexpr auto kLate = std::chrono::milliseconds(50);

}  // namespace

FaultyStore::FaultyStore(std::unique_ptr<storage::Store> store,
                         const Plan& plan)
    : store_(std::move(store)), plan_(plan) {
  if (plan_.ack_before_commit) {
    late_writer_ = std::thread([this] { CommitLate(); });
  }
}

FaultyStore::~FaultyStore() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  if (late_writer_.joinable()) late_writer_.join();
}

absl::StatusOr<std::vector<storage::Outcome>> FaultyStore::Commit(
    std::span<const storage::Write> writes) {
  const int number = ++commits_;
  if (number == plan_.kill_before_commit) Die();
  if (number == plan_.fail_commit) {
    return absl::UnavailableError("a fault of the plan");
  }
  if (plan_.ack_before_commit) return SayYes(writes);
  auto outcomes = store_->Commit(writes);
  if (number == plan_.kill_after_commit) Die();
  return outcomes;
}

std::vector<storage::Outcome> FaultyStore::SayYes(
    std::span<const storage::Write> writes) {
  const std::lock_guard lock(mutex_);
  late_.insert(late_.end(), writes.begin(), writes.end());
  return {writes.size(), storage::Outcome::kDone};
}

void FaultyStore::CommitLate() {
  bool stopped = false;
  while (!stopped) {
    std::this_thread::sleep_for(kLate);
    std::vector<storage::Write> writes;
    {
      const std::lock_guard lock(mutex_);
      writes.swap(late_);
      stopped = stopped_;
    }
    // Whatever comes of it: nobody waits for it any more.
    if (!writes.empty()) store_->Commit(writes).IgnoreError();
  }
}

}  // namespace batchnorm::fault
