#include "server/session/session.h"

#include <deque>
#include <future>
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
  Journal::Change change;
};

// The running statistics as INFERENCE found them.
struct Standing {
  RunningStatistics running;
  std::uint64_t step;
  Journal::Change change;
};

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
  State(std::string session_name, SessionRow row, storage::Version version,
        const SessionServices& services)
      : name(std::move(session_name)),
        config(std::move(row.header.config)),
        is_named(row.header.is_named),
        limits(services.limits),
        create_time(row.header.create_time),
        clock(services.clock),
        quota(services.quota),
        workers(services.workers),
        journal(services.committer, version,
                [this](storage::Version expected) { return RowNow(expected); }),
        running(std::move(row.running)),
        window(config.step_window, row.header.last_step, row.fingerprints),
        writers(std::move(row.writers)) {}

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
  Journal::Entry RowNow(storage::Version expected) const;

  // REQUIRES: the mutex is held.
  absl::Status CheckOpen() const;
  template <typename Call>
  absl::Status CheckCaller(const Call& call) const;
  absl::StatusOr<StepWindow::Place> Place(const ForwardCall& call) const;
  absl::StatusOr<Taken> Replay(std::uint64_t step, const Batch& batch);
  std::vector<Input> Apply(const Batch& batch);

  // Constant after construction.
  const std::string name;
  const SessionConfig config;
  const bool is_named;
  const TensorLimits limits;
  const absl::Time create_time;

  // Thread-safe by themselves.
  const std::function<absl::Time()>& clock;
  InputQuota& quota;
  kernel::Workers& workers;
  const std::shared_ptr<InputQuota::Account> account =
      std::make_shared<InputQuota::Account>();
  Journal journal;

  mutable std::mutex mutex;
  // Guarded by mutex.
  bool closed = false;
  RunningStatistics running;
  StepWindow window;
  Writers writers;
  Journal::Change changes = 0;  // since the session was loaded
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
  result.change = taken->change;
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
  ++changes;
  return Taken{
      .step = window.last_step(), .replayed = false, .change = changes};
}

absl::StatusOr<StepWindow::Place> Session::State::Place(
    const ForwardCall& call) const {
  absl::Status welcome = CheckCaller(call);
  if (!welcome.ok()) return welcome;
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
  return Taken{.step = step, .replayed = true, .change = changes};
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
  result.change = standing->change;
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
  absl::Status welcome = CheckCaller(call);
  if (!welcome.ok()) return welcome;
  return Standing{
      .running = running, .step = window.last_step(), .change = changes};
}

absl::Status Session::State::CheckOpen() const {
  if (closed) return SessionNotFound(name, "session");
  return journal.status();
}

template <typename Call>
absl::Status Session::State::CheckCaller(const Call& call) const {
  absl::Status status = CheckOpen();
  if (status.ok()) status = window.CheckAcknowledged(call.acknowledged_step);
  if (status.ok()) status = writers.Check(call.rank, call.writer_token);
  return status;
}

Journal::Entry Session::State::RowNow(storage::Version expected) const {
  std::lock_guard lock(mutex);
  const RowHeader header = {.config = config,
                            .is_named = is_named,
                            .create_time = create_time,
                            .write_time = clock(),
                            .last_step = window.last_step()};
  return {.change = changes,
          .write = EncodeRow(header, running, window.Fingerprints(), writers,
                             name, expected)};
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
  absl::Status status = CheckCaller(call);
  if (status.ok()) status = window.CheckTaken(call.step);
  if (!status.ok() || sent == nullptr) return status;
  const StepRecord* record = window.Find(call.step);
  if (record == nullptr || record->fingerprint.input == *sent) return status;
  return StepReused(call.step, "rank, x and gamma");
}

absl::StatusOr<Input> Session::State::UseKept(const BackwardCall& call) const {
  std::lock_guard lock(mutex);
  absl::Status status = CheckCaller(call);
  if (status.ok()) status = window.CheckTaken(call.step);
  if (!status.ok()) return status;
  const StepRecord* record = window.Find(call.step);
  Input input = record == nullptr ? nullptr : record->input.Use();
  if (input == nullptr) return InputEvicted(call.step, window.capacity());
  return input;
}

// ---- Session

Session::Session(std::string name, SessionRow row, storage::Version version,
                 const SessionServices& services)
    : state_(std::make_unique<State>(std::move(name), std::move(row), version,
                                     services)) {}

Session::~Session() = default;

// NOLINTBEGIN(performance-unnecessary-value-param): a completion that runs
// later will keep both.
void Session::Forward(ForwardCall call, Completion<ForwardResult> done) {
  absl::StatusOr<ForwardResult> result = state_->Forward(call);
  if (result.ok()) state_->journal.Write(result->change, shared_from_this());
  done(std::move(result));
}

void Session::Backward(BackwardCall call, Completion<BackwardResult> done) {
  done(state_->Backward(call));
}
// NOLINTEND(performance-unnecessary-value-param)

Journal::Change Session::Store() {
  Journal::Change change = 0;
  {
    std::lock_guard lock(state_->mutex);
    change = ++state_->changes;
  }
  state_->journal.Write(change, shared_from_this());
  return change;
}

absl::Status Session::Update(std::uint32_t world_size,
                             std::uint64_t expected_step) {
  absl::Status supported = CheckWorldSize(world_size, "world_size");
  if (!supported.ok()) return supported;
  std::lock_guard lock(state_->mutex);
  absl::Status open = state_->CheckOpen();
  if (!open.ok()) return open;
  const std::uint64_t last_step = state_->window.last_step();
  if (last_step == expected_step) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("expected_step: expected ", last_step,
                                ", the last step, got ", expected_step),
                   {.reason = "STEP_MOVED",
                    .field = "expected_step",
                    .metadata = {{"last_step", absl::StrCat(last_step)}}});
}

absl::StatusOr<Acquired> Session::Acquire(std::uint32_t rank,
                                          std::uint64_t at_least_step,
                                          std::string_view nonce) {
  absl::Status status = CheckRank(rank, state_->config);
  if (status.ok()) status = CheckNonce(nonce);
  if (!status.ok()) return status;
  Acquired acquired;
  {
    std::lock_guard lock(state_->mutex);
    status = state_->CheckOpen();
    if (status.ok()) {
      status = state_->window.CheckAcknowledged(at_least_step, "at_least_step");
    }
    if (!status.ok()) return status;
    if (!state_->writers.HasNonce(rank, nonce)) ++state_->changes;
    acquired = {.writer_token = state_->writers.Acquire(rank, nonce),
                .last_step = state_->window.last_step(),
                .change = state_->changes};
  }
  state_->journal.Write(acquired.change, shared_from_this());
  return acquired;
}

absl::StatusOr<Snapshot> Session::Import(std::uint64_t last_step,
                                         RunningStatistics running,
                                         std::string_view writer_token) {
  std::deque<StepRecord> records;  // freed when the mutex is no longer held
  {
    std::lock_guard lock(state_->mutex);
    absl::Status status = state_->CheckOpen();
    if (status.ok()) status = state_->writers.CheckAny(writer_token);
    if (!status.ok()) return status;
    state_->writers.FenceAllBut(writer_token);
    state_->running = std::move(running);
    records = state_->window.Restart(last_step);
    ++state_->changes;
  }
  Snapshot snapshot = GetSnapshot(/*with_running=*/true);
  state_->journal.Write(snapshot.change, shared_from_this());
  return snapshot;
}

void Session::WhenItLasts(Journal::Change change, Journal::Done done) {
  const auto told = [session = shared_from_this(),
                     done = std::move(done)](const absl::Status& status) {
    if (status.ok()) return done(status);
    std::unique_lock lock(session->state_->mutex);
    const bool closed = session->state_->closed;
    lock.unlock();
    done(closed ? SessionNotFound(session->name(), "session") : status);
  };
  state_->journal.WhenItLasts(change, told);
}

absl::Status Session::AwaitLasting(Journal::Change change) {
  const auto lasting = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> future = lasting->get_future();
  WhenItLasts(change, [lasting](const absl::Status& status) {
    lasting->set_value(status);
  });
  return future.get();
}

absl::Status Session::StoreStatus() const { return state_->journal.status(); }

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
  snapshot.change = state_->changes;
  return snapshot;
}

const std::string& Session::name() const { return state_->name; }

const SessionConfig& Session::config() const { return state_->config; }

bool Session::is_named() const { return state_->is_named; }

std::uint64_t Session::incarnation() const {
  return state_->journal.incarnation();
}

}  // namespace batchnorm::session
