#include "server/session/registry.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/barrier_watch.h"
#include "server/session/config_difference.h"
#include "server/session/error.h"
#include "server/session/input_quota.h"
#include "server/session/loaded_sessions.h"
#include "server/session/page_token.h"
#include "server/session/random.h"
#include "server/session/session_name.h"
#include "server/session/snapshot_checks.h"
#include "server/session/text.h"
#include "server/storage/memory_store.h"

namespace batchnorm::session {

namespace {

using SessionPtr = std::shared_ptr<Session>;

constexpr std::size_t kDoors = 64;
constexpr std::size_t kRowsAScan = 1000;

// Axes are a set: in one order, so that equal sets compare equal.
SessionConfig Canonical(SessionConfig config) {
  auto& axes = config.normalization.channel_axes;
  std::sort(axes.begin(), axes.end());
  return config;
}

absl::Status CheckSameConfig(const Session& session,
                             const SessionConfig& config) {
  const auto difference = FindDifference(session.config(), config);
  if (!difference.has_value()) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat(difference->field, ": expected ", difference->first,
                   ", as the session ", Quoted(NameOf(session.name())),
                   " has, got ", difference->second),
      {.reason = "CONFIG_DIFFERS", .field = difference->field});
}

absl::Status TooManySessions(std::int64_t max_sessions) {
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("expected at most ", max_sessions,
                   " sessions, got a new one; delete those that are done"),
      {.reason = "TOO_MANY_SESSIONS",
       .metadata = {{"max_sessions", absl::StrCat(max_sessions)}}});
}

absl::Status SessionExists(std::string_view name) {
  return MakeError(
      absl::StatusCode::kAlreadyExists,
      absl::StrCat("name: expected a new one, as replace is not set, got ",
                   Quoted(name), ", which exists and is not what is imported"),
      {.reason = "SESSION_EXISTS", .field = "name"});
}

bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double left, double right) {
                      return std::bit_cast<std::uint64_t>(left) ==
                             std::bit_cast<std::uint64_t>(right);
                    });
}

bool IsWhat(const Snapshot& snapshot, const ExportedSession& exported) {
  const auto& running = snapshot.running;
  return running.has_value() && snapshot.config == exported.config &&
         snapshot.last_step == exported.last_step &&
         running->batch_count == exported.running.batch_count &&
         SameBits(running->mean, exported.running.mean) &&
         SameBits(running->var, exported.running.var);
}

}  // namespace

// Names here are where sessions are stored: those of all tenants.
struct Registry::State {
  explicit State(RegistryOptions registry_options)
      : options(std::move(registry_options)),
        is_durable(options.store != nullptr),
        store(is_durable ? *options.store : memory),
        quota(options.kept_input_bytes),
        loaded(options.loaded_bytes),
        count(store.Count().value_or(0)),
        committer(store, is_durable ? storage::Committer::Where::kOwnThread
                                    : storage::Committer::Where::kCaller) {}

  // A rank that waits holds its session, and the session what the rank is told
  // by.
  ~State() { EndBarriers(); }

  void EndBarriers();

  // Held while a name's session is created, loaded or deleted, so that it is
  // in memory once at most. Many names share a door.
  std::unique_lock<std::mutex> Door(std::string_view name) {
    return std::unique_lock(
        doors.at(std::hash<std::string_view>()(name) % kDoors));
  }

  absl::StatusOr<SessionPtr> Open(std::string_view name, bool mark_used);

  // REQUIRES for these: the door is held.
  absl::StatusOr<SessionPtr> Load(std::string_view name, bool mark_used);
  absl::StatusOr<SessionPtr> Make(std::string_view name, SessionRow row);
  absl::StatusOr<Snapshot> Overwrite(Session& session, ExportedSession exported,
                                     bool replace,
                                     std::string_view writer_token);
  absl::Status Erase(std::string_view name);

  absl::StatusOr<std::vector<storage::Row>> ReadPage(std::string_view after,
                                                     std::string_view prefix,
                                                     std::size_t rows);
  Snapshot Describe(const storage::Row& row) const;
  std::int64_t ForgetLoaded(absl::Time limit);
  std::int64_t ForgetStored(absl::Time limit);
  bool MayForget(bool is_named) const { return !is_named || !is_durable; }

  SessionServices Services() {
    return {.limits = options.tensor_limits,
            .quota = quota,
            .committer = committer,
            .clock = options.clock,
            .watch = watch,
            .run = options.run,
            .answer = options.answer,
            .workers = *options.workers};
  }

  // Constant after construction, or thread-safe by themselves.
  const RegistryOptions options;
  const bool is_durable;
  storage::MemoryStore memory;
  storage::Store& store;
  InputQuota quota;
  BarrierWatch watch;
  std::atomic<bool> is_ending = false;
  LoadedSessions loaded;
  std::atomic<std::int64_t> count;
  std::array<std::mutex, kDoors> doors;
  // Last: it ends before what its writes still refer to.
  storage::Committer committer;
};

absl::StatusOr<SessionPtr> Registry::State::Open(std::string_view name,
                                                 bool mark_used) {
  SessionPtr session =
      mark_used ? loaded.Use(name, options.clock()) : loaded.Find(name);
  if (session != nullptr && session->StoreStatus().ok()) return session;
  const auto door = Door(name);
  return Load(name, mark_used);
}

// Null if there is no such session.
absl::StatusOr<SessionPtr> Registry::State::Load(std::string_view name,
                                                 bool mark_used) {
  if (SessionPtr session = loaded.Find(name); session != nullptr) {
    if (session->StoreStatus().ok()) return session;
    loaded.Remove(*session);
  }
  const auto read = store.Load(name);
  if (!read.ok()) return StoreFailed(read.status(), name);
  const std::optional<storage::Row>& row = *read;
  if (!row.has_value()) return SessionPtr();
  absl::StatusOr<SessionRow> decoded = DecodeRow(*row);
  if (!decoded.ok()) return decoded.status();
  const absl::Time used_at =
      mark_used ? options.clock() : decoded->header.write_time;
  auto session = std::make_shared<Session>(
      std::string(name), *std::move(decoded), row->version, Services());
  loaded.Insert(session, used_at);
  return session;
}

// Stores a new session before anybody can find it.
absl::StatusOr<SessionPtr> Registry::State::Make(std::string_view name,
                                                 SessionRow row) {
  if (count.fetch_add(1) >= options.max_sessions) {
    --count;
    return TooManySessions(options.max_sessions);
  }
  const absl::Time now = options.clock();
  row.header.create_time = now;
  const storage::Version version = {.incarnation = Random64()};
  auto session = std::make_shared<Session>(std::string(name), std::move(row),
                                           version, Services());
  absl::Status stored = session->AwaitLasting(session->Store());
  if (!stored.ok()) {
    --count;
    return stored;
  }
  loaded.Insert(session, now);
  return session;
}

absl::StatusOr<Snapshot> Registry::State::Overwrite(
    Session& session, ExportedSession exported, bool replace,
    std::string_view writer_token) {
  Snapshot snapshot = session.GetSnapshot(/*with_running=*/true);
  if (!replace && !IsWhat(snapshot, exported)) {
    return SessionExists(NameOf(session.name()));
  }
  absl::Status same = CheckSameConfig(session, exported.config);
  if (!same.ok()) return same;
  if (replace) {
    absl::StatusOr<Snapshot> imported = session.Import(
        exported.last_step, std::move(exported.running), writer_token);
    if (!imported.ok()) return imported;
    snapshot = *std::move(imported);
  }
  absl::Status lasts = session.AwaitLasting(snapshot.change);
  if (!lasts.ok()) return lasts;
  return snapshot;
}

// The session ends first, so that no call takes a step that is then lost.
absl::Status Registry::State::Erase(std::string_view name) {
  std::uint64_t incarnation = 0;
  if (const SessionPtr session = loaded.Find(name); session != nullptr) {
    incarnation = session->incarnation();
    session->Close();
    loaded.Remove(*session);
  } else {
    const auto read = store.Load(name);
    if (!read.ok()) return StoreFailed(read.status(), name);
    const std::optional<storage::Row>& row = *read;
    if (!row.has_value()) return SessionNotFound(NameOf(name), "name");
    incarnation = row->version.incarnation;
  }
  const auto erased = store.Erase(name, incarnation);
  if (!erased.ok()) return StoreFailed(erased.status(), name);
  if (*erased == storage::Outcome::kConflict) {
    return SessionNotFound(NameOf(name), "name");
  }
  --count;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<storage::Row>> Registry::State::ReadPage(
    std::string_view after, std::string_view prefix, std::size_t rows) {
  const std::string from =
      after.empty() ? std::string(prefix) : std::string(after) + '\0';
  auto page = store.Scan(from, rows);
  if (!page.ok()) return StoreFailed(page.status(), "");
  const auto end =
      std::find_if(page->begin(), page->end(), [prefix](const auto& row) {
        return !std::string_view(row.key).starts_with(prefix);
      });
  page->erase(end, page->end());
  return page;
}

Snapshot Registry::State::Describe(const storage::Row& row) const {
  Snapshot snapshot;
  snapshot.name = NameOf(row.key);
  absl::StatusOr<RowHeader> header = DecodeHeader(row);
  snapshot.is_damaged = !header.ok();
  if (!header.ok()) return snapshot;
  snapshot.config = std::move(header->config);
  snapshot.last_step = header->last_step;
  snapshot.create_time = header->create_time;
  if (const SessionPtr session = loaded.Find(row.key); session != nullptr) {
    const Snapshot now = session->GetSnapshot(/*with_running=*/false);
    snapshot.kept_input_bytes = now.kept_input_bytes;
    snapshot.counters = now.counters;
    if (!is_durable) snapshot.last_step = now.last_step;  // may be ahead
  }
  return snapshot;
}

std::int64_t Registry::State::ForgetLoaded(absl::Time limit) {
  std::int64_t forgotten = 0;
  for (const SessionPtr& session : loaded.UnusedSince(limit)) {
    if (!MayForget(session->is_named())) continue;
    const auto door = Door(session->name());
    forgotten += Erase(session->name()).ok() ? 1 : 0;
  }
  return forgotten;
}

std::int64_t Registry::State::ForgetStored(absl::Time limit) {
  std::int64_t forgotten = 0;
  std::string after;
  while (true) {
    const auto rows = ReadPage(after, "", kRowsAScan);
    if (!rows.ok() || rows->empty()) return forgotten;
    for (const storage::Row& row : *rows) {
      const absl::StatusOr<RowHeader> header = DecodeHeader(row);
      if (!header.ok() || !MayForget(header->is_named)) continue;
      if (header->write_time >= limit) continue;
      const auto door = Door(row.key);
      if (loaded.Find(row.key) != nullptr) continue;
      forgotten += Erase(row.key).ok() ? 1 : 0;
    }
    after = rows->back().key;
  }
}

absl::Time SteadyNow() {
  static const absl::Time wall = absl::Now();
  static const auto steady = std::chrono::steady_clock::now();
  return wall + absl::FromChrono(std::chrono::steady_clock::now() - steady);
}

void Registry::State::EndBarriers() {
  is_ending = true;
  for (const SessionPtr& session : watch.Take()) {
    session->EndBarriers(ServerDraining());
  }
}

Registry::Registry(RegistryOptions options)
    : state_(std::make_shared<State>(std::move(options))) {}

Registry::Registry(std::shared_ptr<State> state, std::string prefix)
    : state_(std::move(state)), prefix_(std::move(prefix)) {}

Registry Registry::Of(std::string_view tenant) const {
  return {state_, StoredPrefix(tenant)};
}

std::optional<std::string> Registry::Stored(std::string_view name) const {
  if (!CheckSessionName(name).ok()) return std::nullopt;
  return absl::StrCat(prefix_, absl::string_view(name.data(), name.size()));
}

absl::StatusOr<Snapshot> Registry::Create(std::string_view name,
                                          SessionConfig config) {
  const std::string in_force = name.empty() ? RandomHex() : std::string(name);
  absl::Status status = CheckSessionName(in_force);
  if (status.ok()) status = Validate(config);
  if (!status.ok()) return status;
  config = Canonical(std::move(config));
  const std::string stored = prefix_ + in_force;
  const auto door = state_->Door(stored);
  auto session = state_->Load(stored, /*mark_used=*/true);
  if (!session.ok()) return session.status();
  if (*session == nullptr) {
    SessionRow row;
    row.header.config = config;
    row.header.is_named = !name.empty();
    row.running = InitialStatistics(config.channels);
    session = state_->Make(stored, std::move(row));
    if (!session.ok()) return session.status();
  }
  state_->loaded.Use(stored, state_->options.clock());
  status = CheckSameConfig(**session, config);
  if (!status.ok()) return status;
  Snapshot snapshot = (*session)->GetSnapshot(/*with_running=*/true);
  absl::Status lasts = (*session)->AwaitLasting(snapshot.change);
  if (!lasts.ok()) return lasts;
  return snapshot;
}

absl::StatusOr<Snapshot> Registry::Get(std::string_view name) {
  const auto session = Open(name, /*mark_used=*/false, "name");
  if (!session.ok()) return session.status();
  Snapshot snapshot = (*session)->GetSnapshot(/*with_running=*/true);
  absl::Status lasts = (*session)->AwaitLasting(snapshot.change);
  if (!lasts.ok()) return lasts;
  return snapshot;
}

absl::StatusOr<SessionPage> Registry::List(std::int32_t page_size,
                                           std::string_view page_token,
                                           std::string_view prefix) {
  const absl::StatusOr<std::int32_t> size = PageSize(page_size);
  if (!size.ok()) return size.status();
  const absl::StatusOr<std::string> after = ParsePageToken(page_token, prefix);
  if (!after.ok()) return after.status();
  const auto count = static_cast<std::size_t>(*size);
  // One more than asked for tells whether there is a next page.
  auto rows = state_->ReadPage(after->empty() ? *after : prefix_ + *after,
                               prefix_ + std::string(prefix), count + 1);
  if (!rows.ok()) return rows.status();
  if (prefix_.empty()) {  // other tenants' come last
    std::erase_if(*rows, [](const auto& row) { return HasTenant(row.key); });
  }
  SessionPage page;
  if (rows->size() > count) {
    rows->pop_back();
    page.next_page_token = MakePageToken(NameOf(rows->back().key));
  }
  for (const storage::Row& row : *rows) {
    page.sessions.push_back(state_->Describe(row));
  }
  return page;
}

absl::StatusOr<Snapshot> Registry::Update(std::string_view name,
                                          std::uint32_t world_size,
                                          std::uint64_t expected_step) {
  const auto session = Open(name, /*mark_used=*/true, "name");
  if (!session.ok()) return session.status();
  absl::Status updated = (*session)->Update(world_size, expected_step);
  if (!updated.ok()) return updated;
  return Get(name);
}

absl::StatusOr<Acquired> Registry::Acquire(std::string_view name,
                                           std::uint32_t rank,
                                           std::uint64_t at_least_step,
                                           std::string_view nonce) {
  const auto session = Open(name, /*mark_used=*/true, "name");
  if (!session.ok()) return session.status();
  auto acquired = (*session)->Acquire(rank, at_least_step, nonce);
  if (!acquired.ok()) return acquired;
  absl::Status lasts = (*session)->AwaitLasting(acquired->change);
  if (!lasts.ok()) return lasts;
  return acquired;
}

absl::StatusOr<ExportedSession> Registry::Export(std::string_view name) {
  absl::StatusOr<Snapshot> snapshot = Get(name);
  if (!snapshot.ok()) return snapshot.status();
  ExportedSession exported{
      .config = std::move(snapshot->config),
      .last_step = snapshot->last_step,
      .running = std::move(snapshot->running).value_or(RunningStatistics())};
  exported.checksum =
      SnapshotChecksum(exported.config, exported.last_step, exported.running);
  return exported;
}

absl::StatusOr<Snapshot> Registry::Import(std::string_view name,
                                          ExportedSession exported,
                                          bool replace,
                                          std::string_view writer_token) {
  absl::Status status = CheckSessionName(name);
  if (status.ok()) status = CheckSnapshot(exported);
  if (!status.ok()) return status;
  exported.config = Canonical(std::move(exported.config));
  const std::string stored = prefix_ + std::string(name);
  const auto door = state_->Door(stored);
  auto session = state_->Load(stored, /*mark_used=*/true);
  if (absl::IsDataLoss(session.status()) && replace) {
    status = state_->Erase(stored);
    if (!status.ok()) return status;
    session = SessionPtr();
  }
  if (!session.ok()) return session.status();
  if (*session != nullptr) {
    return state_->Overwrite(**session, std::move(exported), replace,
                             writer_token);
  }
  if (absl::Status fenced = Writers().CheckAny(writer_token); !fenced.ok()) {
    return fenced;
  }
  SessionRow row;
  row.header.config = std::move(exported.config);
  row.header.last_step = exported.last_step;
  row.running = std::move(exported.running);
  session = state_->Make(stored, std::move(row));
  if (!session.ok()) return session.status();
  return (*session)->GetSnapshot(/*with_running=*/true);
}

absl::Status Registry::Delete(std::string_view name) {
  const std::optional<std::string> stored = Stored(name);
  if (!stored.has_value()) return SessionNotFound(name, "name");
  const auto door = state_->Door(*stored);
  return state_->Erase(*stored);
}

absl::StatusOr<std::shared_ptr<Session>> Registry::Find(std::string_view name) {
  return Open(name, /*mark_used=*/true, "session");
}

bool Registry::IsLoaded(std::string_view name) const {
  const std::optional<std::string> stored = Stored(name);
  if (!stored.has_value()) return false;
  const SessionPtr session = state_->loaded.Find(*stored);
  return session != nullptr && session->StoreStatus().ok();
}

absl::StatusOr<std::shared_ptr<Session>> Registry::Open(
    std::string_view name, bool mark_used, std::string_view field) {
  const std::optional<std::string> stored = Stored(name);
  if (!stored.has_value()) return SessionNotFound(name, field);
  auto session = state_->Open(*stored, mark_used);
  if (session.ok() && *session == nullptr) return SessionNotFound(name, field);
  return session;
}

std::int64_t Registry::ExpireIdle() {
  const absl::Time limit = state_->options.clock() - state_->options.idle_ttl;
  const std::int64_t forgotten = state_->ForgetLoaded(limit);
  return forgotten + state_->ForgetStored(limit);
}

void Registry::Refuse(std::string_view name, const PhaseKey& key,
                      std::uint32_t rank, const absl::Status& why) {
  const std::optional<std::string> stored = Stored(name);
  if (!stored.has_value()) return;
  const SessionPtr session = state_->loaded.Find(*stored);
  if (session != nullptr) session->Refuse(key, rank, why);
}

void Registry::AbortOverdueBarriers() {
  if (state_->is_ending) return EndBarriers();
  for (const SessionPtr& session : state_->watch.Take()) {
    for (const Stragglers& late : session->FindStragglers()) {
      state_->options.on_stragglers(session->name(), late);
    }
    if (session->AbortOverdue(state_->options.barrier_timeout)) {
      state_->watch.Add(session);
    }
  }
}

void Registry::EndBarriers() { state_->EndBarriers(); }

std::int64_t Registry::session_count() const { return state_->count; }

std::int64_t Registry::loaded_count() const { return state_->loaded.count(); }

std::int64_t Registry::kept_input_bytes() const {
  return state_->quota.used_bytes();
}

std::int64_t Registry::evicted_input_count() const {
  return state_->quota.evicted_count();
}

}  // namespace batchnorm::session
