#include "server/session/registry.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/config_difference.h"
#include "server/session/error.h"
#include "server/session/input_quota.h"
#include "server/session/page_token.h"
#include "server/session/session_name.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

// A session, and when it was last used. Finding a session marks it under the
// shared lock, hence the atomic.
struct Entry {
  Entry(std::shared_ptr<Session> opened, absl::Time now)
      : session(std::move(opened)), used_at(absl::ToUnixNanos(now)) {}

  void MarkUsed(absl::Time now) const { used_at = absl::ToUnixNanos(now); }
  bool UsedBefore(absl::Time limit) const {
    return used_at < absl::ToUnixNanos(limit);
  }

  const std::shared_ptr<Session> session;
  mutable std::atomic<std::int64_t> used_at;
};

using Sessions = std::map<std::string, Entry, std::less<>>;

// Axes are a set: in one order, so that equal sets compare equal.
SessionConfig Canonical(SessionConfig config) {
  auto& axes = config.normalization.channel_axes;
  std::sort(axes.begin(), axes.end());
  return config;
}

absl::Status ConfigDiffers(std::string_view name,
                           const ConfigDifference& difference) {
  return MakeError(absl::StatusCode::kAlreadyExists,
                   absl::StrCat(difference.field, ": expected ",
                                difference.first, ", as the session ",
                                Quoted(name), " has, got ", difference.second),
                   {.reason = "CONFIG_DIFFERS", .field = difference.field});
}

absl::Status TooManySessions(std::int64_t max_sessions) {
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("expected at most ", max_sessions,
                   " sessions, got a new one; delete those that are done"),
      {.reason = "TOO_MANY_SESSIONS",
       .metadata = {{"max_sessions", absl::StrCat(max_sessions)}}});
}

}  // namespace

struct Registry::State {
  explicit State(RegistryOptions registry_options)
      : options(std::move(registry_options)), quota(options.kept_input_bytes) {}

  absl::StatusOr<std::shared_ptr<Session>> FindOrOpen(
      const std::string& name, const SessionConfig& config);

  // Each of these takes the mutex.
  std::shared_ptr<Session> Lookup(std::string_view name, bool mark_used) const;
  absl::StatusOr<std::shared_ptr<Session>> Insert(
      std::shared_ptr<Session> session, absl::Time now);
  std::vector<std::shared_ptr<Session>> PageAfter(std::string_view after,
                                                  std::string_view prefix,
                                                  std::size_t count) const;
  std::shared_ptr<Session> Remove(std::string_view name);
  std::vector<std::shared_ptr<Session>> RemoveIdle();

  const RegistryOptions options;  // constant after construction
  InputQuota quota;               // thread-safe by itself

  mutable std::shared_mutex mutex;
  // Guarded by mutex.
  Sessions sessions;
};

std::shared_ptr<Session> Registry::State::Lookup(std::string_view name,
                                                 bool mark_used) const {
  std::shared_lock lock(mutex);
  const auto found = sessions.find(name);
  if (found == sessions.end()) return nullptr;
  if (mark_used) found->second.MarkUsed(options.clock());
  return found->second.session;
}

// Returns the session that has the name: another one where a Create of the
// same name came first.
absl::StatusOr<std::shared_ptr<Session>> Registry::State::Insert(
    std::shared_ptr<Session> session, absl::Time now) {
  std::unique_lock lock(mutex);
  const auto found = sessions.find(session->name());
  if (found != sessions.end()) return found->second.session;
  if (std::ssize(sessions) >= options.max_sessions) {
    return TooManySessions(options.max_sessions);
  }
  sessions.try_emplace(session->name(), session, now);
  return session;
}

// Opens it outside the lock, as its vectors may be large.
absl::StatusOr<std::shared_ptr<Session>> Registry::State::FindOrOpen(
    const std::string& name, const SessionConfig& config) {
  auto session = Lookup(name, /*mark_used=*/true);
  if (session != nullptr) return session;
  const absl::Time now = options.clock();
  return Insert(std::make_shared<Session>(name, config, options.tensor_limits,
                                          quota, now, *options.workers),
                now);
}

std::vector<std::shared_ptr<Session>> Registry::State::PageAfter(
    std::string_view after, std::string_view prefix, std::size_t count) const {
  std::vector<std::shared_ptr<Session>> page;
  std::shared_lock lock(mutex);
  auto at = after.empty() ? sessions.lower_bound(prefix)
                          : sessions.upper_bound(after);
  for (; at != sessions.end() && page.size() < count; ++at) {
    if (!at->first.starts_with(prefix)) break;
    page.push_back(at->second.session);
  }
  return page;
}

std::shared_ptr<Session> Registry::State::Remove(std::string_view name) {
  std::unique_lock lock(mutex);
  const auto found = sessions.find(name);
  if (found == sessions.end()) return nullptr;
  std::shared_ptr<Session> session = found->second.session;
  sessions.erase(found);
  return session;
}

std::vector<std::shared_ptr<Session>> Registry::State::RemoveIdle() {
  const absl::Time limit = options.clock() - options.idle_ttl;
  std::vector<std::shared_ptr<Session>> removed;
  std::unique_lock lock(mutex);
  std::erase_if(sessions, [&](const auto& named) {
    if (!named.second.UsedBefore(limit)) return false;
    removed.push_back(named.second.session);
    return true;
  });
  return removed;
}

absl::Time SteadyNow() {
  static const absl::Time wall = absl::Now();
  static const auto steady = std::chrono::steady_clock::now();
  return wall + absl::FromChrono(std::chrono::steady_clock::now() - steady);
}

Registry::Registry(RegistryOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}

Registry::~Registry() = default;

absl::StatusOr<Snapshot> Registry::Create(std::string_view name,
                                          SessionConfig config) {
  const std::string in_force =
      name.empty() ? MakeSessionName() : std::string(name);
  absl::Status status = CheckSessionName(in_force);
  if (status.ok()) status = Validate(config);
  if (!status.ok()) return status;
  config = Canonical(std::move(config));
  const auto session = state_->FindOrOpen(in_force, config);
  if (!session.ok()) return session.status();
  Snapshot snapshot = (*session)->GetSnapshot(/*with_running=*/true);
  const auto difference = FindDifference(snapshot.config, config);
  if (difference.has_value()) return ConfigDiffers(in_force, *difference);
  return snapshot;
}

absl::StatusOr<Snapshot> Registry::Get(std::string_view name) const {
  const auto session = state_->Lookup(name, /*mark_used=*/false);
  if (session == nullptr) return SessionNotFound(name, "name");
  return session->GetSnapshot(/*with_running=*/true);
}

absl::StatusOr<SessionPage> Registry::List(std::int32_t page_size,
                                           std::string_view page_token,
                                           std::string_view prefix) const {
  const absl::StatusOr<std::int32_t> size = PageSize(page_size);
  if (!size.ok()) return size.status();
  const absl::StatusOr<std::string> after = ParsePageToken(page_token, prefix);
  if (!after.ok()) return after.status();
  const auto count = static_cast<std::size_t>(*size);
  // One more than asked for tells whether there is a next page.
  auto sessions = state_->PageAfter(*after, prefix, count + 1);
  SessionPage page;
  if (sessions.size() > count) {
    sessions.pop_back();
    page.next_page_token = MakePageToken(sessions.back()->name());
  }
  for (const auto& session : sessions) {
    page.sessions.push_back(session->GetSnapshot(/*with_running=*/false));
  }
  return page;
}

absl::StatusOr<Snapshot> Registry::Update(std::string_view name,
                                          std::uint32_t world_size,
                                          std::uint64_t expected_step) {
  const auto session = state_->Lookup(name, /*mark_used=*/true);
  if (session == nullptr) return SessionNotFound(name, "name");
  absl::Status updated = session->Update(world_size, expected_step);
  if (!updated.ok()) return updated;
  return session->GetSnapshot(/*with_running=*/true);
}

absl::Status Registry::Delete(std::string_view name) {
  const auto session = state_->Remove(name);
  if (session == nullptr) return SessionNotFound(name, "name");
  session->Close();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Session>> Registry::Find(
    std::string_view name) const {
  auto session = state_->Lookup(name, /*mark_used=*/true);
  if (session == nullptr) return SessionNotFound(name, "session");
  return session;
}

std::int64_t Registry::ExpireIdle() {
  const auto idle = state_->RemoveIdle();
  for (const auto& session : idle) session->Close();
  return std::ssize(idle);
}

std::int64_t Registry::session_count() const {
  std::shared_lock lock(state_->mutex);
  return std::ssize(state_->sessions);
}

}  // namespace batchnorm::session
