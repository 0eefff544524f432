// Where the ranks of a group wait for each other: all of them take a phase of a
// step, or none does.
//
// An attempt begins with the first rank that arrives and ends when the last one
// has, or when it is aborted; the next arrival then begins another. What has
// arrived stays in the attempt, even if its caller has gone: a caller that asks
// again with the same takes its place.
//
// Nothing here is called back under a lock: what is to be said to the callers
// is returned. Thread-compatible: a session's lock guards it.
#ifndef BATCHNORMD_SERVER_SESSION_BARRIER_H_
#define BATCHNORMD_SERVER_SESSION_BARRIER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/kernel/channel_sums.h"
#include "server/session/fingerprint.h"
#include "server/session/group_step.h"
#include "server/session/group_view.h"
#include "server/session/journal.h"
#include "server/session/kept_input.h"
#include "server/session/shared_reply.h"

namespace batchnorm::session {

// What all ranks of an attempt are told: the step as it is now, or why not.
struct GroupOutcome {
  GroupStepPtr step;
  Journal::Change change = 0;  // what must last before it is told
  // To ranks that send sums, where all get the same. Null of a replay.
  std::shared_ptr<SharedReply> reply{};
};
struct Settle {
  std::function<void(const absl::StatusOr<GroupOutcome>&)> tell;
  bool computes = false;  // long, if the outcome is a step
};

// A rank's, of one phase or the other.
using PhaseSums = std::variant<kernel::ForwardSums, kernel::BackwardSums>;
// Of those ranks that have come, if any has.
using GroupSums =
    std::variant<std::monostate, kernel::ForwardSums, kernel::BackwardSums>;

// One rank's part, without its sums.
struct Arrival {
  std::uint32_t rank = 0;
  Fingerprint fingerprint;
  std::string writer_token;
  std::optional<double> new_weight{};  // Forward: in force
  std::shared_ptr<const KeptInput>
      input{};  // Forward: to keep, without a batch
  Settle settle;
  absl::Time came{};  // Arrive notes it
};

struct Attempt {
  PhaseKey key;
  std::uint64_t number = 0;  // of the session, from 1
  absl::Time began;
  std::vector<std::optional<Arrival>> ranks;
  GroupSums sums;
  std::uint32_t missing = 0;
};

// An attempt to which all ranks have come, in their order.
struct CompleteAttempt {
  PhaseKey key;
  std::vector<Arrival> ranks;
  GroupSums sums;
};

// Somebody to be told something, outside all locks.
struct Told {
  Settle settle;
  absl::StatusOr<GroupOutcome> outcome;
};

class Barrier {
 public:
  struct Result {
    absl::Status status;                      // of the arrival
    std::optional<CompleteAttempt> complete;  // if it was the last
    std::vector<Told> told;
  };

  // A rank is there. INVALID_ARGUMENT `STEP_REUSED` if it is there already with
  // another fingerprint, unless `is_fenced` says of the former's token that it
  // is no writer any more; `NEW_WEIGHT_DIFFERS` from the first arrival's, which
  // ends the attempt.
  Result Arrive(const PhaseKey& key, std::uint32_t world_size, Arrival arrival,
                PhaseSums sums, absl::Time now,
                const std::function<bool(const Arrival& former)>& is_fenced);

  // The callers of an attempt that cannot succeed, as this rank was refused.
  // None if the attempt has the rank already: its former call goes on.
  std::vector<Told> Refuse(const PhaseKey& key, std::uint32_t rank,
                           const absl::Status& why);

  // The callers of all attempts that have waited for the timeout: ABORTED
  // `RANK_MISSING`, naming the ranks that did not come. Also of those that have
  // waited for a second for a rank that has left: ABORTED `RANK_LEFT`.
  std::vector<Told> AbortOverdue(absl::Duration timeout, absl::Time now);

  // A rank is gone: those who wait for it are told ABORTED `RANK_LEFT`.
  std::vector<Told> Leave(std::uint32_t rank, absl::Time now);
  // It is back.
  void Return(std::uint32_t rank) { left_.erase(rank); }

  // The ranks that an attempt has waited for unusually long. Each is told once,
  // until it comes in time again.
  std::vector<Stragglers> FindStragglers(absl::Time now);

  // The callers of all attempts.
  std::vector<Told> AbortAll(const absl::Status& why);

  // A call of this rank has come.
  void See(std::uint32_t rank, absl::Time now) { last_seen_[rank] = now; }

  bool is_empty() const { return attempts_.empty(); }

  // Without the jobs.
  GroupView View(absl::Time now) const;

 private:
  using Attempts = std::map<PhaseKey, std::unique_ptr<Attempt>>;

  Attempt& Begin(const PhaseKey& key, std::uint32_t world_size, absl::Time now);
  // Ends the attempt; its callers are told this.
  void Abort(Attempts::iterator attempt, const absl::Status& why,
             std::vector<Told>& told);
  absl::Status Missing(const Attempt& attempt, absl::Time now) const;
  absl::Status Left(const Attempt& attempt, std::uint32_t rank,
                    absl::Time now) const;
  // The rank that has left and that the attempt waits for, if there is one.
  std::optional<std::uint32_t> FindLeft(const Attempt& attempt) const;
  std::string SeenAgo(std::uint32_t rank, absl::Time now) const;
  // Takes it out, and notes how long each rank has waited.
  CompleteAttempt Complete(const PhaseKey& key, absl::Time now);

  Attempts attempts_;
  std::uint64_t last_number_ = 0;
  std::map<std::uint32_t, absl::Time> last_seen_;
  std::map<std::uint32_t, absl::Duration> last_wait_;
  std::set<std::uint32_t> left_;
  std::set<std::uint32_t> told_late_;
};

// ABORTED: nothing was applied, and the same call may be sent again.
absl::Status Aborted(std::string_view text, std::string_view reason,
                     std::map<std::string, std::string> metadata);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_BARRIER_H_
