#include "server/session/loaded_sessions.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "server/session/step_window.h"

namespace batchnorm::session {

namespace {

// What a session takes besides its vectors, about.
constexpr std::int64_t kBytesASession = 2048;

std::int64_t BytesOf(const Session& session) {
  const SessionConfig& config = session.config();
  return kBytesASession +
         config.channels * static_cast<std::int64_t>(2 * sizeof(double)) +
         config.step_window * static_cast<std::int64_t>(sizeof(StepRecord));
}

}  // namespace

LoadedSessions::Entry::Entry(std::shared_ptr<Session> loaded, absl::Time now)
    : session(std::move(loaded)),
      bytes(BytesOf(*session)),
      used_at(absl::ToUnixNanos(now)) {}

std::shared_ptr<Session> LoadedSessions::Find(std::string_view name) const {
  std::shared_lock lock(mutex_);
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second.session;
}

std::shared_ptr<Session> LoadedSessions::Use(std::string_view name,
                                             absl::Time now) const {
  std::shared_lock lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  found->second.used_at = absl::ToUnixNanos(now);
  return found->second.session;
}

void LoadedSessions::Insert(const std::shared_ptr<Session>& session,
                            absl::Time now) {
  std::vector<std::shared_ptr<Session>> given_up;  // freed without the lock
  std::unique_lock lock(mutex_);
  const auto found = by_name_.find(session->name());
  if (found != by_name_.end()) Erase(found);
  const auto added = by_name_.try_emplace(session->name(), session, now).first;
  bytes_ += added->second.bytes;
  if (bytes_ > max_bytes_) given_up = MakeRoom();
}

// A tenth more than must go, so that the next ones find room at once. Not those
// in use: a call or a write that is under way holds a reference. Nor those that
// the server named: their row does not tell when they were last used.
std::vector<std::shared_ptr<Session>> LoadedSessions::MakeRoom() {
  std::vector<ByName::iterator> oldest;
  for (auto it = by_name_.begin(); it != by_name_.end(); ++it) {
    const Entry& entry = it->second;
    if (entry.session.use_count() == 1 && entry.session->is_named()) {
      oldest.push_back(it);
    }
  }
  std::sort(oldest.begin(), oldest.end(), [](const auto& a, const auto& b) {
    return a->second.used_at < b->second.used_at;
  });
  std::vector<std::shared_ptr<Session>> given_up;
  for (const ByName::iterator& entry : oldest) {
    if (bytes_ <= max_bytes_ - max_bytes_ / 10) break;
    // Nobody can load it before its row is whole.
    entry->second.session->StoreNow();
    given_up.push_back(entry->second.session);
    Erase(entry);
  }
  return given_up;
}

void LoadedSessions::Erase(ByName::iterator entry) {
  bytes_ -= entry->second.bytes;
  by_name_.erase(entry);
}

void LoadedSessions::Remove(const Session& session) {
  std::shared_ptr<Session> removed;  // freed without the lock
  std::unique_lock lock(mutex_);
  const auto found = by_name_.find(session.name());
  if (found == by_name_.end() || found->second.session.get() != &session) {
    return;
  }
  removed = found->second.session;
  Erase(found);
}

std::vector<std::shared_ptr<Session>> LoadedSessions::UnusedSince(
    absl::Time limit) const {
  std::vector<std::shared_ptr<Session>> unused;
  std::shared_lock lock(mutex_);
  for (const auto& [name, entry] : by_name_) {
    if (entry.used_at < absl::ToUnixNanos(limit)) {
      unused.push_back(entry.session);
    }
  }
  return unused;
}

std::int64_t LoadedSessions::count() const {
  std::shared_lock lock(mutex_);
  return std::ssize(by_name_);
}

}  // namespace batchnorm::session
