// All sessions by name: those in use in memory, all of them in the store.
//
// A session is loaded from its row when it is used, and given up again, the
// least recently used first, when those in memory take too much of it. The
// tensor path of a loaded session takes a shared lock for a lookup and nothing
// else of here.
//
// Everything else may wait for the store: call it where that does no harm.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_SESSION_REGISTRY_H_
#define BATCHNORMD_SERVER_SESSION_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/session/session.h"
#include "server/storage/store.h"

namespace batchnorm::session {

// The time of day, but for jumps of the system's clock: those must not expire
// sessions.
absl::Time SteadyNow();

struct RegistryOptions {
  std::int64_t max_sessions = 100'000;
  std::int64_t kept_input_bytes = std::int64_t{1} << 30;  // quota, all sessions
  // Sessions in memory, without their kept inputs. The rest is in the store.
  std::int64_t loaded_bytes = std::int64_t{256} << 20;
  absl::Duration idle_ttl = absl::Hours(24);
  TensorLimits tensor_limits;
  std::function<absl::Time()> clock = SteadyNow;
  // How long the ranks of a group wait for each other.
  absl::Duration barrier_timeout = absl::Seconds(30);
  // Told of ranks that others wait for unusually long, once until they come in
  // time again.
  std::function<void(const std::string& session, const Stragglers& late)>
      on_stragglers = [](const std::string&, const Stragglers&) {};
  // What computes for ranks that have waited.
  Run run = [](const std::function<void()>& task) { task(); };
  // What answers calls whose change lasts.
  Run answer = [](const std::function<void()>& task) { task(); };
  // What shares the work of one tensor; outlives the registry.
  kernel::Workers* workers = &kernel::Workers::Inline();
  // Where sessions outlive the registry; outlives it itself. Null: nowhere, and
  // then named sessions are forgotten like others when they are idle.
  storage::Store* store = nullptr;
};

struct SessionPage {
  std::vector<Snapshot> sessions;
  std::string next_page_token;  // empty on the last page
};

// batchnorm.v1.SessionSnapshot.
struct ExportedSession {
  SessionConfig config;
  std::uint64_t last_step = 0;
  RunningStatistics running;
  std::uint32_t format_version = 1;
  std::uint64_t checksum = 0;  // of all the above; 0: not known
};

// One tenant's view of them: names are its own, and it sees no others'.
class Registry {
 public:
  // Of the tenant without a name. `options.store` holds what an earlier
  // registry left there.
  explicit Registry(RegistryOptions options);

  // The same sessions' registry as that tenant sees it; cheap. Limits, idle
  // times and barriers are those of all tenants together.
  Registry Of(std::string_view tenant) const;

  // Errors of these are those of the RPCs of the same names. What they return
  // lasts.
  // An empty name makes one from 128 random bits.
  absl::StatusOr<Snapshot> Create(std::string_view name, SessionConfig config);
  absl::StatusOr<Snapshot> Get(std::string_view name);
  absl::StatusOr<SessionPage> List(std::int32_t page_size,
                                   std::string_view page_token,
                                   std::string_view prefix);
  absl::StatusOr<Snapshot> Update(std::string_view name,
                                  std::uint32_t world_size,
                                  std::uint64_t expected_step);
  absl::StatusOr<Acquired> Acquire(std::string_view name, std::uint32_t rank,
                                   std::uint64_t at_least_step,
                                   std::string_view nonce);
  absl::StatusOr<ExportedSession> Export(std::string_view name);
  absl::StatusOr<Snapshot> Import(std::string_view name,
                                  ExportedSession exported, bool replace,
                                  std::string_view writer_token);
  absl::Status Delete(std::string_view name);

  // The session for a tensor call; marks it used.
  absl::StatusOr<std::shared_ptr<Session>> Find(std::string_view name);

  // Whether Find would find it without waiting for the store.
  bool IsLoaded(std::string_view name) const;

  // Deletes the sessions that have been idle for longer than the TTL; returns
  // how many. For a timer.
  std::int64_t ExpireIdle();

  // A call was refused before it was read: the ranks of its session that wait
  // for it are told. Does not wait for the store.
  void Refuse(std::string_view name, const PhaseKey& key, std::uint32_t rank,
              const absl::Status& why);

  // Tells the ranks that have waited too long for others. For a timer.
  void AbortOverdueBarriers();

  // From now on no rank waits for another: UNAVAILABLE `SERVER_DRAINING`.
  void EndBarriers();

  std::int64_t session_count() const;
  // Those in memory.
  std::int64_t loaded_count() const;
  std::int64_t kept_input_bytes() const;
  std::int64_t evicted_input_count() const;  // ever

 private:
  struct State;
  Registry(std::shared_ptr<State> state, std::string prefix);

  // Where it is stored; nothing for what no session can be called.
  std::optional<std::string> Stored(std::string_view name) const;
  absl::StatusOr<std::shared_ptr<Session>> Open(std::string_view name,
                                                bool mark_used,
                                                std::string_view field);

  std::shared_ptr<State> state_;
  std::string prefix_;  // of where this tenant's are stored
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_REGISTRY_H_
