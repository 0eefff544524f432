#include "server/storage/committer.h"

#include <utility>

namespace batchnorm::storage {

Committer::Committer(Store& store, Where where) : store_(store), where_(where) {
  if (where == Where::kOwnThread) thread_ = std::thread([this] { Work(); });
}

Committer::~Committer() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  arrived_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Committer::Commit(Write write, Done done) {
  if (where_ == Where::kCaller) return CommitTogether({&write, 1}, {&done, 1});
  {
    const std::lock_guard lock(mutex_);
    writes_.push_back(std::move(write));
    dones_.push_back(std::move(done));
  }
  arrived_.notify_one();
}

void Committer::Work() {
  std::vector<Write> writes;
  std::vector<Done> dones;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return stopped_ || !writes_.empty(); });
      if (writes_.empty()) return;
      writes.swap(writes_);
      dones.swap(dones_);
    }
    CommitTogether(writes, dones);
    writes.clear();
    dones.clear();
  }
}

void Committer::CommitTogether(std::span<const Write> writes,
                               std::span<const Done> dones) {
  const auto outcomes = store_.Commit(writes);
  for (std::size_t i = 0; i < dones.size(); ++i) {
    if (outcomes.ok()) {
      dones[i]((*outcomes)[i]);
    } else {
      dones[i](outcomes.status());
    }
  }
}

}  // namespace batchnorm::storage
