// All sessions by name. Thread-safe; the lookup takes a shared lock only.
#ifndef BATCHNORMD_SERVER_SESSION_REGISTRY_H_
#define BATCHNORMD_SERVER_SESSION_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/session/session.h"

namespace batchnorm::session {

// The time of day, but for jumps of the system's clock: those must not expire
// sessions.
absl::Time SteadyNow();

struct RegistryOptions {
  std::int64_t max_sessions = 100'000;
  std::int64_t kept_input_bytes = std::int64_t{1} << 30;  // quota, all sessions
  absl::Duration idle_ttl = absl::Hours(24);
  TensorLimits tensor_limits;
  std::function<absl::Time()> clock = SteadyNow;
  // What shares the work of one tensor; outlives the registry.
  kernel::Workers* workers = &kernel::Workers::Inline();
};

struct SessionPage {
  std::vector<Snapshot> sessions;
  std::string next_page_token;  // empty on the last page
};

class Registry {
 public:
  explicit Registry(RegistryOptions options);
  ~Registry();

  // Errors of these five are those of the RPCs of the same names.
  // An empty name makes one from 128 random bits.
  absl::StatusOr<Snapshot> Create(std::string_view name, SessionConfig config);
  absl::StatusOr<Snapshot> Get(std::string_view name) const;
  absl::StatusOr<SessionPage> List(std::int32_t page_size,
                                   std::string_view page_token,
                                   std::string_view prefix) const;
  absl::StatusOr<Snapshot> Update(std::string_view name,
                                  std::uint32_t world_size,
                                  std::uint64_t expected_step);
  absl::Status Delete(std::string_view name);

  // The session for a tensor call; marks it used.
  absl::StatusOr<std::shared_ptr<Session>> Find(std::string_view name) const;

  // Deletes the sessions that have been idle for longer than the TTL; returns
  // how many. For a timer.
  std::int64_t ExpireIdle();

  std::int64_t session_count() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_REGISTRY_H_
