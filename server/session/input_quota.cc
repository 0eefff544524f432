#include "server/session/input_quota.h"

#include <utility>

namespace batchnorm::session {

InputQuota::Ticket::Ticket(Ticket&& other) noexcept
    : quota_(std::exchange(other.quota_, nullptr)), id_(other.id_) {}

InputQuota::Ticket& InputQuota::Ticket::operator=(Ticket&& other) noexcept {
  Release();
  quota_ = std::exchange(other.quota_, nullptr);
  id_ = other.id_;
  return *this;
}

InputQuota::Ticket::~Ticket() { Release(); }

InputQuota::Input InputQuota::Ticket::Use() const {
  return quota_ == nullptr ? nullptr : quota_->Use(id_);
}

InputQuota::Input InputQuota::Ticket::Release() {
  InputQuota* quota = std::exchange(quota_, nullptr);
  return quota == nullptr ? nullptr : quota->Drop(id_);
}

InputQuota::InputQuota(std::int64_t max_bytes) : max_bytes_(max_bytes) {}

InputQuota::Kept InputQuota::Keep(Input input,
                                  std::shared_ptr<Account> account) {
  Kept kept;
  const std::int64_t bytes = input->total_bytes();
  if (bytes > max_bytes_) return kept;
  std::lock_guard lock(mutex_);
  while (used_bytes_ + bytes > max_bytes_) {
    entries_.front().account->evicted_count += 1;
    ++evicted_count_;
    kept.evicted.push_back(Remove(entries_.begin()));
  }
  used_bytes_ += bytes;
  account->x_bytes += input->x_bytes();
  const std::uint64_t id = ++last_id_;
  by_id_[id] = entries_.insert(entries_.end(),
                               {id, std::move(input), std::move(account)});
  kept.ticket = Ticket(this, id);
  return kept;
}

std::int64_t InputQuota::used_bytes() const {
  std::lock_guard lock(mutex_);
  return used_bytes_;
}

InputQuota::Input InputQuota::Use(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  entries_.splice(entries_.end(), entries_, found->second);
  return found->second->input;
}

InputQuota::Input InputQuota::Drop(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : Remove(found->second);
}

InputQuota::Input InputQuota::Remove(Entries::iterator entry) {
  used_bytes_ -= entry->input->total_bytes();
  entry->account->x_bytes -= entry->input->x_bytes();
  Input input = std::move(entry->input);
  by_id_.erase(entry->id);
  entries_.erase(entry);
  return input;
}

}  // namespace batchnorm::session
