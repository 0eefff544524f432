#include "server/session/session.h"

#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/backward_pass.h"
#include "server/session/call_checks.h"
#include "server/session/error.h"
#include "server/session/fingerprint.h"
#include "server/session/forward_pass.h"
#include "server/session/input_quota.h"
#include "server/session/policy.h"
#include "server/session/session_name.h"
#include "server/session/step_window.h"

namespace batchnorm::session {

namespace {

using Input = InputQuota::Input;

struct Taken {
  std::uint64_t step;
  bool replayed;
};

// The running statistics as INFERENCE found them.
struct Standing {
  RunningStatistics running;
  std::uint64_t step;
};

RunningStatistics InitialStatistics(std::int64_t channels) {
  const auto n = static_cast<std::size_t>(channels);
  return {.mean = std::vector<double>(n, 0.0),
          .var = std::vector<double>(n, 1.0)};
}

absl::Status StepReused(std::uint64_t step, const char* what) {
  return InvalidField("step", "STEP_REUSED",
                      absl::StrCat("expected the ", what, " that step ", step,
                                   " was taken with, got others"));
}

absl::Status InputEvicted(std::uint64_t step, std::uint32_t window) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("x: expected x and gamma, as those of step ", step,
                   " are not kept (window ", window,
                   "), got neither; send the same call again with both"),
      {.reason = "INPUT_EVICTED", .field = "x"});
}

}  // namespace

struct Session::State {
  State(std::string session_name, SessionConfig session_config,
        const TensorLimits& tensor_limits, InputQuota& input_quota,
        absl::Time now, kernel::Workers& kernel_workers)
      : name(std::move(session_name)),
        config(std::move(session_config)),
        limits(tensor_limits),
        create_time(now),
        quota(input_quota),
        workers(kernel_workers),
        running(InitialStatistics(config.channels)),
        window(config.step_window) {}

  absl::StatusOr<ForwardResult> Forward(const ForwardCall& call);
  absl::StatusOr<ForwardResult> Train(const ForwardCall& call,
                                      const CheckedForward& checked);
  absl::StatusOr<ForwardResult> Infer(const ForwardCall& call,
                                      const CheckedForward& checked);
  absl::StatusOr<BackwardResult> Backward(const BackwardCall& call);
  absl::StatusOr<Input> ResentInput(const BackwardCall& call,
                                    const Tensor& x) const;

  // Each of these takes the mutex.
  absl::Status LookAhead(const ForwardCall& call) const;
  absl::StatusOr<Taken> TakeStep(const ForwardCall& call, const Batch& batch);
  absl::StatusOr<Standing> ReadRunning(const ForwardCall& call) const;
  absl::Status CheckResent(const BackwardCall& call, const Digest* sent) const;
  absl::StatusOr<Input> UseKept(const BackwardCall& call) const;
  void Count(std::int64_t Counters::* counter);

  // REQUIRES: the mutex is held.
  absl::Status CheckOpen(std::uint64_t acknowledged_step) const;
  absl::StatusOr<StepWindow::Place> Place(const ForwardCall& call) const;
  absl::StatusOr<Taken> Replay(std::uint64_t step, const Batch& batch);
  std::vector<Input> Apply(const Batch& batch);

  // Constant after construction.
  const std::string name;
  const SessionConfig config;
  const TensorLimits limits;
  const absl::Time create_time;

  // Thread-safe by themselves.
  InputQuota& quota;
  kernel::Workers& workers;
  const std::shared_ptr<InputQuota::Account> account =
      std::make_shared<InputQuota::Account>();

  mutable std::mutex mutex;
  // Guarded by mutex.
  bool closed = false;
  RunningStatistics running;
  StepWindow window;
  Counters counters;
};

// ---- Forward

absl::StatusOr<ForwardResult> Session::State::Forward(const ForwardCall& call) {
  const absl::StatusOr<CheckedForward> checked =
      CheckForward(call, config, limits);
  if (!checked.ok()) return checked.status();
  absl::StatusOr<ForwardResult> result =
      call.mode == Mode::kTrain ? Train(call, *checked) : Infer(call, *checked);
  if (result.ok()) {
    result->dtype = call.x.dtype;
    result->shape = call.x.shape;
  }
  return result;
}

absl::StatusOr<ForwardResult> Session::State::Train(
    const ForwardCall& call, const CheckedForward& checked) {
  absl::Status hopeful = LookAhead(call);
  if (!hopeful.ok()) return hopeful;
  absl::StatusOr<Batch> batch = NormalizeBatch(call, checked, config, workers);
  if (!batch.ok()) return batch.status();
  const absl::StatusOr<Taken> taken = TakeStep(call, *batch);
  if (!taken.ok()) return taken.status();
  ForwardResult result;
  result.step = taken->step;
  result.replayed = taken->replayed;
  result.y = std::move(batch->y);
  result.statistics = batch->batch->statistics;
  return result;
}

// The same checks as TakeStep makes, before the work: a call that must fail
// costs nothing. What passes here may still fail there.
absl::Status Session::State::LookAhead(const ForwardCall& call) const {
  std::lock_guard lock(mutex);
  return Place(call).status();
}

absl::StatusOr<Taken> Session::State::TakeStep(const ForwardCall& call,
                                               const Batch& batch) {
  std::vector<Input> dropped;  // freed when the mutex is no longer held
  std::lock_guard lock(mutex);
  const absl::StatusOr<StepWindow::Place> place = Place(call);
  if (!place.ok()) return place.status();
  if (*place == StepWindow::Place::kTaken) return Replay(call.step, batch);
  dropped = Apply(batch);
  return Taken{.step = window.last_step(), .replayed = false};
}

absl::StatusOr<StepWindow::Place> Session::State::Place(
    const ForwardCall& call) const {
  absl::Status open = CheckOpen(call.acknowledged_step);
  if (!open.ok()) return open;
  return window.PlaceForward(call.step);
}

absl::StatusOr<Taken> Session::State::Replay(std::uint64_t step,
                                             const Batch& batch) {
  const Fingerprint& taken = window.Find(step)->fingerprint;
  if (taken.input != batch.fingerprint.input) {
    return StepReused(step, "rank, x and gamma");
  }
  if (taken.parameters != batch.fingerprint.parameters) {
    return StepReused(step, "new_weight and beta");
  }
  ++counters.replay_count;
  return Taken{.step = step, .replayed = true};
}

std::vector<Input> Session::State::Apply(const Batch& batch) {
  const Normalization& constants = config.normalization;
  UpdateRunning(batch.batch->sums,
                {.new_weight = batch.new_weight,
                 .running_ddof = static_cast<int>(constants.running_ddof)},
                ToKernel(constants.degenerate_policy), running.mean,
                running.var, running.batch_count);
  ++counters.forward_count;
  // The step that leaves the window makes room first.
  Input expired = window.MakeRoom();
  InputQuota::Kept kept;
  if (batch.kept != nullptr) kept = quota.Keep(batch.kept, account);
  window.Take({batch.fingerprint, std::move(kept.ticket)});
  kept.evicted.push_back(std::move(expired));
  return std::move(kept.evicted);
}

absl::StatusOr<ForwardResult> Session::State::Infer(
    const ForwardCall& call, const CheckedForward& checked) {
  const absl::StatusOr<Standing> standing = ReadRunning(call);
  if (!standing.ok()) return standing.status();
  const RunningStatistics& used = standing->running;
  const Normalization& constants = config.normalization;
  absl::Status refused = RefuseRunning(used.var, constants);
  if (!refused.ok()) return refused;
  ForwardResult result;
  result.statistics_step = standing->step;
  result.y =
      Normalize(call.x, checked,
                kernel::FromRunning(used.mean, used.var, constants.eps,
                                    ToKernel(constants.degenerate_policy)),
                workers);
  Count(&Counters::inference_count);
  return result;
}

absl::StatusOr<Standing> Session::State::ReadRunning(
    const ForwardCall& call) const {
  std::lock_guard lock(mutex);
  absl::Status open = CheckOpen(call.acknowledged_step);
  if (!open.ok()) return open;
  return Standing{.running = running, .step = window.last_step()};
}

absl::Status Session::State::CheckOpen(std::uint64_t acknowledged_step) const {
  if (closed) return SessionNotFound(name, "session");
  return window.CheckAcknowledged(acknowledged_step);
}

void Session::State::Count(std::int64_t Counters::* counter) {
  std::lock_guard lock(mutex);
  ++(counters.*counter);
}

// ---- Backward

absl::StatusOr<BackwardResult> Session::State::Backward(
    const BackwardCall& call) {
  absl::Status checked = CheckBackward(call, config, limits);
  if (!checked.ok()) return checked;
  const absl::StatusOr<Input> input =
      call.x.has_value() ? ResentInput(call, *call.x) : UseKept(call);
  if (!input.ok()) return input.status();
  absl::StatusOr<BackwardResult> result =
      Differentiate(**input, call, config, limits, workers);
  if (result.ok()) Count(&Counters::backward_count);
  return result;
}

absl::StatusOr<Input> Session::State::ResentInput(const BackwardCall& call,
                                                  const Tensor& x) const {
  absl::Status hopeful = CheckResent(call, nullptr);
  if (!hopeful.ok()) return hopeful;
  absl::StatusOr<KeptInput> input =
      SumResentInput(x, call.gamma, config, limits, workers);
  if (!input.ok()) return input.status();
  const Digest digest = DigestOf(call.rank, *input);
  absl::Status same = CheckResent(call, &digest);
  if (!same.ok()) return same;
  return std::make_shared<const KeptInput>(*std::move(input));
}

// Outside the window there is nothing to compare with: x and gamma are taken
// as the caller sends them.
absl::Status Session::State::CheckResent(const BackwardCall& call,
                                         const Digest* sent) const {
  std::lock_guard lock(mutex);
  absl::Status status = CheckOpen(call.acknowledged_step);
  if (status.ok()) status = window.CheckTaken(call.step);
  if (!status.ok() || sent == nullptr) return status;
  const StepRecord* record = window.Find(call.step);
  if (record == nullptr || record->fingerprint.input == *sent) return status;
  return StepReused(call.step, "rank, x and gamma");
}

absl::StatusOr<Input> Session::State::UseKept(const BackwardCall& call) const {
  std::lock_guard lock(mutex);
  absl::Status status = CheckOpen(call.acknowledged_step);
  if (status.ok()) status = window.CheckTaken(call.step);
  if (!status.ok()) return status;
  const StepRecord* record = window.Find(call.step);
  Input input = record == nullptr ? nullptr : record->input.Use();
  if (input == nullptr) return InputEvicted(call.step, window.capacity());
  return input;
}

// ---- Session

Session::Session(std::string name, SessionConfig config,
                 const TensorLimits& limits, InputQuota& quota, absl::Time now,
                 kernel::Workers& workers)
    : state_(std::make_unique<State>(std::move(name), std::move(config), limits,
                                     quota, now, workers)) {}

Session::~Session() = default;

// NOLINTBEGIN(performance-unnecessary-value-param): a completion that runs
// later will keep both.
void Session::Forward(ForwardCall call, Completion<ForwardResult> done) {
  done(state_->Forward(call));
}

void Session::Backward(BackwardCall call, Completion<BackwardResult> done) {
  done(state_->Backward(call));
}
// NOLINTEND(performance-unnecessary-value-param)

absl::Status Session::Update(std::uint32_t world_size,
                             std::uint64_t expected_step) {
  absl::Status supported = CheckWorldSize(world_size, "world_size");
  if (!supported.ok()) return supported;
  std::lock_guard lock(state_->mutex);
  if (state_->closed) return SessionNotFound(name(), "name");
  const std::uint64_t last_step = state_->window.last_step();
  if (last_step == expected_step) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("expected_step: expected ", last_step,
                                ", the last step, got ", expected_step),
                   {.reason = "STEP_MOVED",
                    .field = "expected_step",
                    .metadata = {{"last_step", absl::StrCat(last_step)}}});
}

void Session::Close() {
  std::deque<StepRecord> records;  // freed when the mutex is no longer held
  std::lock_guard lock(state_->mutex);
  state_->closed = true;
  records = state_->window.Clear();
}

Snapshot Session::GetSnapshot(bool with_running) const {
  Snapshot snapshot;
  snapshot.name = state_->name;
  snapshot.config = state_->config;
  snapshot.create_time = state_->create_time;
  snapshot.kept_input_bytes = state_->account->x_bytes;
  std::lock_guard lock(state_->mutex);
  snapshot.last_step = state_->window.last_step();
  if (with_running) snapshot.running = state_->running;
  snapshot.counters = state_->counters;
  snapshot.counters.evicted_input_count = state_->account->evicted_count;
  return snapshot;
}

const std::string& Session::name() const { return state_->name; }

const SessionConfig& Session::config() const { return state_->config; }

}  // namespace batchnorm::session
