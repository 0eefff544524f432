// What a session is made of: shared by session.cc, single_rank.cc and group.cc,
// and by nobody else.
#ifndef BATCHNORMD_SERVER_SESSION_SESSION_STATE_H_
#define BATCHNORMD_SERVER_SESSION_SESSION_STATE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/session/backward_pass.h"
#include "server/session/barrier.h"
#include "server/session/call_checks.h"
#include "server/session/forward_pass.h"
#include "server/session/group_pass.h"
#include "server/session/input_quota.h"
#include "server/session/presence.h"
#include "server/session/session.h"
#include "server/session/step_window.h"

namespace batchnorm::session {

struct Taken {
  std::uint64_t step;
  bool replayed;
  Journal::Change change;
};

// The running statistics as INFERENCE found them.
struct Standing {
  RunningStatistics running;
  std::uint64_t step;
  Journal::Change change;
};

// What an arrival at a barrier comes to.
struct Turn {
  absl::Status status{};  // not OK: the caller did not arrive
  bool replayed = false;
  Journal::Change change = 0;  // to be written, unless it is
  std::vector<Told> told{};    // the caller among them, unless it waits
  std::vector<Presence::News> news{};
  std::vector<InputQuota::Input> dropped{};
};

absl::Status StepReused(std::uint64_t step, const char* what);
absl::Status InputEvicted(std::uint64_t step, std::uint32_t window);
absl::Status GroupChanged(std::string_view text);

struct Session::State {
  using Input = InputQuota::Input;

  State(std::string session_name, SessionRow row, storage::Version version,
        const SessionServices& services)
      : name(std::move(session_name)),
        config(std::move(row.header.config)),
        is_named(row.header.is_named),
        limits(services.limits),
        create_time(row.header.create_time),
        world_size(config.world_size),
        clock(services.clock),
        quota(services.quota),
        workers(services.workers),
        run(services.run),
        watch(services.watch),
        journal(services.committer, services.answer, version,
                [this](storage::Version expected, Journal::Change lasting) {
                  return RowNow(expected, lasting);
                }),
        running(std::move(row.running)),
        window(config.step_window, row.header.last_step, row.steps),
        writers(std::move(row.writers)) {}

  // single_rank.cc
  absl::StatusOr<ForwardResult> Forward(const ForwardCall& call);
  absl::StatusOr<ForwardResult> Train(const ForwardCall& call,
                                      const CheckedForward& checked);
  absl::StatusOr<ForwardResult> Infer(const ForwardCall& call,
                                      const CheckedForward& checked);
  absl::StatusOr<BackwardResult> Backward(const BackwardCall& call);
  absl::StatusOr<Input> ResentInput(const BackwardCall& call,
                                    const Tensor& x) const;

  // As it is now.
  SessionConfig Config() const;
  // Whether each rank of a group gets dgamma and dbeta of its own shard.
  bool HasLocalGradients() const {
    return config.gradient_reduction == GradientReduction::kLocal;
  }

  // group.cc. Each takes the mutex but where it computes.
  absl::Status LookAheadInGroup(const ForwardCall& call) const;
  absl::StatusOr<BackwardShard> FindShard(BackwardCall call);
  absl::StatusOr<GroupStepPtr> FindGroup(const BackwardCall& call);
  Turn Arrive(ForwardShard& shard, Settle settle);
  Turn Arrive(BackwardShard& shard, Settle settle);
  std::vector<Told> Refuse(const ForwardCall& call, const absl::Status& why);
  std::vector<Told> Refuse(const BackwardCall& call, const absl::Status& why);
  void Tell(std::vector<Told> told) const;
  static void Tell(const std::vector<Presence::News>& news);

  // REQUIRES for these two: the mutex is held.
  Turn EndAll(const absl::Status& why);
  GroupView ViewGroup() const;

  // session.cc. Each of these takes the mutex.
  // Whether all ranks take, or have taken, this step together.
  bool IsOfGroup(std::uint64_t step) const;
  absl::Status LookAhead(const ForwardCall& call) const;
  absl::StatusOr<Taken> TakeStep(const ForwardCall& call, const Batch& batch);
  absl::StatusOr<Standing> ReadRunning(const ForwardCall& call) const;
  absl::Status CheckResent(const BackwardCall& call, const Digest* sent) const;
  absl::StatusOr<Input> UseKept(const BackwardCall& call) const;
  void Count(std::int64_t Counters::* counter);
  Journal::Entry RowNow(storage::Version expected,
                        Journal::Change lasting) const;

  // REQUIRES for the rest: the mutex is held.
  absl::Status CheckOpen() const;
  template <typename Call>
  absl::Status CheckCaller(const Call& call) const {
    absl::Status status = CheckOpen();
    if (status.ok()) status = window.CheckAcknowledged(call.acknowledged_step);
    if (status.ok()) status = writers.Check(call.rank, call.writer_token);
    return status;
  }
  absl::Status CheckLast(std::uint64_t expected_step) const;
  absl::StatusOr<StepWindow::Place> Place(const ForwardCall& call) const;
  absl::StatusOr<Taken> Replay(std::uint64_t step, const Batch& batch);
  Turn Replay(const ForwardShard& shard, Settle settle);
  std::vector<Input> Apply(const Batch& batch);
  absl::StatusOr<StepWindow::Place> PlaceInGroup(const ForwardCall& call) const;
  absl::StatusOr<GroupStepPtr> GroupOf(const BackwardCall& call) const;
  Turn Join(const PhaseKey& key, std::uint32_t ranks, Arrival arrival,
            PhaseSums sums);
  absl::StatusOr<GroupOutcome> Complete(CompleteAttempt attempt,
                                        std::vector<Input>& dropped);
  absl::StatusOr<GroupOutcome> CompleteForward(CompleteAttempt attempt,
                                               std::vector<Input>& dropped);
  absl::StatusOr<GroupOutcome> CompleteBackward(CompleteAttempt attempt);

  // Constant after construction.
  const std::string name;
  const SessionConfig config;  // but for the world size
  const bool is_named;
  const TensorLimits limits;
  const absl::Time create_time;

  // Thread-safe by themselves.
  std::atomic<std::uint32_t> world_size;
  const std::function<absl::Time()>& clock;
  InputQuota& quota;
  kernel::Workers& workers;
  const Run& run;
  BarrierWatch& watch;
  const std::shared_ptr<InputQuota::Account> account =
      std::make_shared<InputQuota::Account>();
  Journal journal;

  mutable std::mutex mutex;
  // Guarded by mutex.
  bool closed = false;
  RunningStatistics running;
  StepWindow window;
  Barrier barrier;
  Presence presence;
  Writers writers;
  Journal::Change changes = 0;  // since the session was loaded
  Counters counters;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_STATE_H_
