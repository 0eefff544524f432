// One batch-norm layer: its configuration, its running statistics, its last
// step, and what the steps of its window need for Backward.
//
// Thread-safe. One mutex a session guards its state; it is held for work per
// channel, never while elements are summed or applied. Calls take a completion,
// which may run on the caller's thread before the call returns or, once steps
// wait for other ranks, later on another thread.
//
// A result must not be told to anybody before the change it names lasts: the
// session begins to store each change by itself, and WhenItLasts tells when.
#ifndef BATCHNORMD_SERVER_SESSION_SESSION_H_
#define BATCHNORMD_SERVER_SESSION_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/kernel/batch_norm.h"
#include "server/kernel/workers.h"
#include "server/session/config.h"
#include "server/session/fingerprint.h"
#include "server/session/group_view.h"
#include "server/session/journal.h"
#include "server/session/running_statistics.h"
#include "server/session/session_row.h"
#include "server/session/shared_reply.h"
#include "server/session/spread.h"
#include "server/session/tensor.h"

namespace batchnorm::session {

class InputQuota;    // input_quota.h: which kept inputs fit in memory
class BarrierWatch;  // barrier_watch.h: the sessions in which ranks wait
struct Turn;

template <typename Result>
using Completion = std::function<void(absl::StatusOr<Result>)>;

// What a call may bring and get back, fixed at start.
struct TensorLimits {
  std::int64_t max_tensor_bytes = std::int64_t{1} << 30;
  // The most a reply may hold; the transport's limit less its framing.
  std::int64_t max_reply_bytes = (std::int64_t{1} << 31) - (1 << 20);
};

// batchnorm.v1.ForwardRequest, and so on for the others. Rules are there.
struct ForwardCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  Mode mode = Mode::kTrain;
  std::uint64_t acknowledged_step = 0;
  std::string writer_token;  // empty: not a writer
  std::optional<double> new_weight;
  std::optional<Tensor> gamma;
  std::optional<Tensor> beta;
  Tensor x;
};

struct ForwardResult {
  std::uint64_t step = 0;
  bool replayed = false;
  std::optional<kernel::Statistics> statistics;  // TRAIN
  std::uint64_t statistics_step = 0;             // INFERENCE
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::string y;
  Journal::Change change = 0;  // what must last before this is told
};

struct BackwardCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  std::uint32_t pass = 0;  // of a group
  std::uint64_t acknowledged_step = 0;
  std::string writer_token;  // empty: not a writer
  std::optional<Tensor> gamma;
  std::optional<Tensor> x;
  Tensor dy;
};

struct BackwardResult {
  std::uint64_t step = 0;
  std::vector<double> dgamma;
  std::vector<double> dbeta;
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::string dx;
  Journal::Change change = 0;  // what must last before this is told
};

// batchnorm.v1.SyncRequest: one of the two sums.
struct SyncCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  std::uint32_t pass = 0;
  std::uint64_t acknowledged_step = 0;
  std::string writer_token;  // empty: not a writer
  std::optional<double> new_weight;
  std::optional<kernel::ForwardSums> forward;
  std::optional<kernel::BackwardSums> backward;
  Digest carried;  // of the sums as they came: CarriedDigest
};

struct SyncResult {
  std::uint64_t step = 0;
  bool replayed = false;
  std::shared_ptr<const kernel::TrainBatch> batch;     // the whole one
  std::shared_ptr<const kernel::Gradients> gradients;  // for `backward`
  // With other ranks that get the same; null where each gets its own.
  std::shared_ptr<SharedReply> shared;
  Journal::Change change = 0;  // what must last before this is told
};

// batchnorm.v1.JoinResponse.
struct PresentRanks {
  std::vector<std::uint32_t> ranks;  // ascending
  std::uint64_t last_step = 0;
  std::uint64_t version = 0;  // later ones have larger ones
};
// What a rank that has joined is told: who is there, after each change; or,
// last of all, why its Join ends. Called under no lock, and not in order: the
// latest may come before one that it outdates, which has a smaller version.
using OnPresence = std::function<void(const absl::StatusOr<PresentRanks>&)>;

struct Counters {
  std::int64_t forward_count = 0;
  std::int64_t replay_count = 0;
  std::int64_t inference_count = 0;
  std::int64_t backward_count = 0;
  std::int64_t evicted_input_count = 0;
};

// batchnorm.v1.Session at one instant.
struct Snapshot {
  std::string name;
  SessionConfig config;
  std::uint64_t last_step = 0;
  std::optional<RunningStatistics> running;  // empty in lists
  std::optional<GroupView> group;            // empty in lists, and of one rank
  absl::Time create_time;
  std::int64_t kept_input_bytes = 0;
  Counters counters;
  bool is_damaged = false;     // then only the name is known
  Journal::Change change = 0;  // what must last before this is told
};

struct Acquired {
  std::string writer_token;
  std::uint64_t last_step = 0;
  Journal::Change change = 0;  // what must last before this is told
};

// What all sessions share, and outlives them.
struct SessionServices {
  TensorLimits limits;
  InputQuota& quota;
  storage::Committer& committer;
  const std::function<absl::Time()>& clock;
  BarrierWatch& watch;
  const Run& run;     // what computes
  const Run& answer;  // what answers calls
  kernel::Workers& workers = kernel::Workers::Inline();
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // A session as it is stored under this version or, where the number is 0, is
  // to be: Store writes it. REQUIRES: the configuration is valid.
  Session(std::string name, SessionRow row, storage::Version version,
          const SessionServices& services);
  ~Session();

  // Begins to store a new session. Once, before all else.
  Journal::Change Store();
  // Stores what a volatile store does not have yet: before a session leaves
  // memory. REQUIRES: nobody uses it.
  void StoreNow();

  void Forward(const ForwardCall& call, const Completion<ForwardResult>& done);
  void Backward(BackwardCall call, const Completion<BackwardResult>& done);
  void Sync(SyncCall call, const Completion<SyncResult>& done);

  // The ranks of the next step. Another number ends the waiting of those who
  // are there: ABORTED `GROUP_CHANGED`. FAILED_PRECONDITION `STEP_MOVED` if the
  // last step is another.
  absl::Status Update(std::uint32_t world_size, std::uint64_t expected_step);

  // Makes the caller the writer of a rank. DATA_LOSS `STEPS_LOST` if the last
  // step is below `at_least_step`, INVALID_ARGUMENT `BAD_RANK`, `BAD_NONCE`.
  absl::StatusOr<Acquired> Acquire(std::uint32_t rank,
                                   std::uint64_t at_least_step,
                                   std::string_view nonce);

  // Goes on from there: other statistics, another last step, an empty window,
  // no writer but the one that holds the token. FAILED_PRECONDITION `FENCED` if
  // none does. REQUIRES: vectors of config().channels numbers.
  absl::StatusOr<Snapshot> Import(std::uint64_t last_step,
                                  RunningStatistics running,
                                  std::string_view writer_token);

  // A rank is alive until it leaves with the ticket that this returns.
  // INVALID_ARGUMENT `BAD_RANK`, `BAD_JOB`; ALREADY_EXISTS `OTHER_JOB`;
  // FAILED_PRECONDITION `FENCED`.
  absl::StatusOr<std::uint64_t> Join(std::uint32_t rank, std::string_view job,
                                     std::string_view writer_token,
                                     OnPresence on_presence);
  void Leave(std::uint32_t rank, std::uint64_t ticket);

  // A call of a rank was refused before it came here: those who wait for it
  // there are told.
  void Refuse(const PhaseKey& key, std::uint32_t rank, const absl::Status& why);

  // Tells the ranks that have waited so long that others are missing: ABORTED
  // `RANK_MISSING`. Whether anybody waits still, or has joined.
  bool AbortOverdue(absl::Duration timeout);
  std::vector<Stragglers> FindStragglers();
  // Tells all ranks that wait or have joined.
  void EndBarriers(const absl::Status& why);

  // From now on every call ends with NOT_FOUND; kept inputs are dropped.
  void Close();

  // Calls `done` when the change lasts, with an error if it may not have been
  // stored; at once or later, on any thread, and `done` should be short.
  void WhenItLasts(Journal::Change change, Journal::Done done);
  // Waits for that.
  absl::Status AwaitLasting(Journal::Change change);

  // Not OK if what is stored is unknown: the session must be loaded anew.
  absl::Status StoreStatus() const;

  Snapshot GetSnapshot(bool with_running) const;
  const std::string& name() const;
  SessionConfig config() const;  // as it is now
  bool is_named() const;
  std::uint64_t incarnation() const;

 private:
  struct State;

  void ForwardInGroup(const ForwardCall& call,
                      const Completion<ForwardResult>& done);
  void BackwardInGroup(BackwardCall call,
                       const Completion<BackwardResult>& done);
  void SyncForward(SyncCall call, const Completion<SyncResult>& done);
  void SyncBackward(SyncCall call, const Completion<SyncResult>& done);
  // Does what an arrival comes to.
  absl::Status Act(Turn turn);
  // Begins to store the change, unless it is 0, and tells those who asked for
  // it.
  void Publish(Journal::Change change, const std::function<void()>& tell);

  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_H_
