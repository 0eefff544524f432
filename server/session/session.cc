#include "server/session/session.h"

#include <deque>
#include <future>
#include <mutex>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/session_name.h"
#include "server/session/session_state.h"

namespace batchnorm::session {

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

absl::Status GroupChanged(std::string_view text) {
  return Aborted(text, "GROUP_CHANGED", {});
}

// ---- State

// The same checks as TakeStep makes, before the work: a call that must fail
// costs nothing. What passes here may still fail there.
absl::Status Session::State::LookAhead(const ForwardCall& call) const {
  std::lock_guard lock(mutex);
  return Place(call).status();
}

absl::StatusOr<StepWindow::Place> Session::State::Place(
    const ForwardCall& call) const {
  absl::Status welcome = CheckCaller(call);
  if (!welcome.ok()) return welcome;
  return window.PlaceForward(call.step);
}

absl::Status Session::State::CheckLast(std::uint64_t expected_step) const {
  const std::uint64_t last_step = window.last_step();
  if (last_step == expected_step) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("expected_step: expected ", last_step,
                                ", the last step, got ", expected_step),
                   {.reason = "STEP_MOVED",
                    .field = "expected_step",
                    .metadata = {{"last_step", absl::StrCat(last_step)}}});
}

absl::Status Session::State::CheckOpen() const {
  if (closed) return SessionNotFound(NameOf(name), "session");
  return journal.status();
}

bool Session::State::IsOfGroup(std::uint64_t step) const {
  std::lock_guard lock(mutex);
  const StepRecord* record = window.Find(step);
  return record == nullptr ? world_size > 1 : record->group != nullptr;
}

SessionConfig Session::State::Config() const {
  SessionConfig now = config;
  now.world_size = world_size;
  return now;
}

Journal::Entry Session::State::RowNow(storage::Version expected,
                                      Journal::Change lasting) const {
  std::unique_lock lock(mutex);
  const RowHeader header = {.config = Config(),
                            .is_named = is_named,
                            .create_time = create_time,
                            .write_time = clock(),
                            .last_step = window.last_step()};
  const Journal::Change change = changes;
  const RunningStatistics statistics = running;
  const std::vector<StoredStep> steps = window.Steps();
  const Writers those_who_write = writers;
  lock.unlock();  // encoding may take longer than a step
  return {.change = change,
          .write = EncodeRow(header, statistics, steps, those_who_write, name,
                             expected, lasting)};
}

void Session::State::Count(std::int64_t Counters::* counter) {
  std::lock_guard lock(mutex);
  ++(counters.*counter);
}

// ---- Session

Session::Session(std::string name, SessionRow row, storage::Version version,
                 const SessionServices& services)
    : state_(std::make_unique<State>(std::move(name), std::move(row), version,
                                     services)) {}

Session::~Session() = default;

void Session::Forward(const ForwardCall& call,
                      const Completion<ForwardResult>& done) {
  if (call.mode == Mode::kTrain && state_->IsOfGroup(call.step)) {
    return ForwardInGroup(call, done);
  }
  absl::StatusOr<ForwardResult> result = state_->Forward(call);
  Publish(result.ok() ? result->change : 0, [&] { done(std::move(result)); });
}

void Session::Backward(BackwardCall call,
                       const Completion<BackwardResult>& done) {
  if (state_->IsOfGroup(call.step)) {
    return BackwardInGroup(std::move(call), done);
  }
  done(state_->Backward(call));
}

void Session::StoreNow() {
  std::unique_lock lock(state_->mutex);
  const Journal::Change change = state_->changes;
  lock.unlock();
  state_->journal.Write(change, shared_from_this());
}

// What is in memory, a volatile store need not have: StoreNow gives it to it.
void Session::Publish(Journal::Change change,
                      const std::function<void()>& tell) {
  Journal& journal = state_->journal;
  if (change != 0 && !journal.is_volatile()) {
    journal.Write(change, shared_from_this());
  }
  tell();
}

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
  absl::Status valid = CheckWorldSize(world_size, "world_size");
  if (!valid.ok()) return valid;
  Turn turn;
  {
    std::lock_guard lock(state_->mutex);
    absl::Status status = state_->CheckOpen();
    if (status.ok()) status = state_->CheckLast(expected_step);
    if (!status.ok()) return status;
    if (state_->world_size == world_size) return status;
    state_->world_size = world_size;
    const absl::Status changed =
        GroupChanged(absl::StrCat("the group has ", world_size, " ranks now"));
    turn.told = state_->barrier.AbortAll(changed);
    turn.news = state_->presence.EndFrom(world_size, changed);
    turn.change = ++state_->changes;
  }
  return Act(std::move(turn));
}

absl::StatusOr<Acquired> Session::Acquire(std::uint32_t rank,
                                          std::uint64_t at_least_step,
                                          std::string_view nonce) {
  absl::Status status = CheckRank(rank, state_->world_size);
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
  std::vector<Told> told;
  {
    std::lock_guard lock(state_->mutex);
    absl::Status status = state_->CheckOpen();
    if (status.ok()) status = state_->writers.CheckAny(writer_token);
    if (!status.ok()) return status;
    state_->writers.FenceAllBut(writer_token);
    state_->running = std::move(running);
    records = state_->window.Restart(last_step);
    told = state_->barrier.AbortAll(
        GroupChanged("the session goes on from an import"));
    ++state_->changes;
  }
  state_->Tell(std::move(told));
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
    done(closed ? SessionNotFound(NameOf(session->name()), "session") : status);
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
  Turn turn;
  {
    std::lock_guard lock(state_->mutex);
    state_->closed = true;
    records = state_->window.Clear();
    turn = state_->EndAll(SessionNotFound(NameOf(state_->name), "session"));
  }
  state_->Tell(std::move(turn.told));
  State::Tell(turn.news);
}

Snapshot Session::GetSnapshot(bool with_running) const {
  Snapshot snapshot;
  snapshot.name = NameOf(state_->name);
  snapshot.config = state_->Config();
  snapshot.create_time = state_->create_time;
  snapshot.kept_input_bytes = state_->account->x_bytes;
  std::lock_guard lock(state_->mutex);
  snapshot.last_step = state_->window.last_step();
  if (with_running) snapshot.running = state_->running;
  if (with_running && state_->world_size > 1) {
    snapshot.group = state_->ViewGroup();
  }
  snapshot.counters = state_->counters;
  snapshot.counters.evicted_input_count = state_->account->evicted_count;
  snapshot.change = state_->changes;
  return snapshot;
}

const std::string& Session::name() const { return state_->name; }

SessionConfig Session::config() const { return state_->Config(); }

bool Session::is_named() const { return state_->is_named; }

std::uint64_t Session::incarnation() const {
  return state_->journal.incarnation();
}

}  // namespace batchnorm::session
