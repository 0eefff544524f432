// The steps of a group: each rank sums its shard, waits at the barrier for the
// others, and applies what they have come to together.
#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/barrier_watch.h"
#include "server/session/error.h"
#include "server/session/group_pass.h"
#include "server/session/policy.h"
#include "server/session/session_state.h"

namespace batchnorm::session {

namespace {

using Input = InputQuota::Input;

absl::Status CheckGroupStep(std::uint64_t step) {
  if (step != 0) return absl::OkStatus();
  return InvalidField("step", "BAD_STEP",
                      "expected a number, as all ranks take the step "
                      "together, got 0");
}

absl::Status CheckPass(std::uint32_t pass) {
  if (pass < kMaxPasses) return absl::OkStatus();
  return InvalidField(
      "pass", "BAD_PASS",
      absl::StrCat("expected less than ", kMaxPasses, ", got ", pass));
}

PhaseKey KeyOf(const ForwardCall& call) {
  return {.step = call.step, .phase = Phase::kForward};
}

PhaseKey KeyOf(const BackwardCall& call) {
  return {.step = call.step, .phase = Phase::kBackward, .pass = call.pass};
}

// A call without its tensors: what tells whose it is.
ForwardCall HeaderOf(const SyncCall& call) {
  ForwardCall header;
  header.step = call.step;
  header.rank = call.rank;
  header.acknowledged_step = call.acknowledged_step;
  header.writer_token = call.writer_token;
  return header;
}

template <typename Call>
BackwardCall BackwardHeaderOf(const Call& call) {
  BackwardCall header;
  header.step = call.step;
  header.rank = call.rank;
  header.pass = call.pass;
  header.acknowledged_step = call.acknowledged_step;
  header.writer_token = call.writer_token;
  return header;
}

std::vector<Fingerprint> FingerprintsOf(const CompleteAttempt& attempt) {
  std::vector<Fingerprint> fingerprints;
  fingerprints.reserve(attempt.ranks.size());
  for (const Arrival& arrival : attempt.ranks) {
    fingerprints.push_back(arrival.fingerprint);
  }
  return fingerprints;
}

}  // namespace

// ---- Forward

void Session::ForwardInGroup(const ForwardCall& call,
                             const Completion<ForwardResult>& done) {
  State& state = *state_;
  absl::Status numbered = CheckGroupStep(call.step);
  if (numbered.ok()) numbered = state.LookAheadInGroup(call);
  if (!numbered.ok()) return done(numbered);
  absl::StatusOr<ForwardShard> summed =
      SumForward(call, state.config, state.limits, state.workers);
  if (!summed.ok()) {
    state.Tell(state.Refuse(call, summed.status()));
    return done(summed.status());
  }
  const auto shard = std::make_shared<ForwardShard>(*std::move(summed));
  const auto replayed = std::make_shared<bool>(false);
  const auto tell = [self = shared_from_this(), shard, replayed,
                     done](const absl::StatusOr<GroupOutcome>& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    ForwardResult result =
        NormalizeShard(*shard, *outcome->step, self->state_->workers);
    result.replayed = *replayed;
    result.change = outcome->change;
    done(std::move(result));
  };
  Turn turn = state.Arrive(*shard, {.tell = tell, .computes = true});
  *replayed = turn.replayed;
  absl::Status arrived = Act(std::move(turn));
  if (!arrived.ok()) done(arrived);
}

absl::Status Session::State::LookAheadInGroup(const ForwardCall& call) const {
  std::lock_guard lock(mutex);
  return PlaceInGroup(call).status();
}

// Where its step lies, and whether the rank is one of those who take it.
absl::StatusOr<StepWindow::Place> Session::State::PlaceInGroup(
    const ForwardCall& call) const {
  absl::StatusOr<StepWindow::Place> place = Place(call);
  if (!place.ok()) return place;
  std::uint32_t ranks = world_size;
  if (*place == StepWindow::Place::kTaken) {
    const GroupStepPtr& group = window.Find(call.step)->group;
    if (group == nullptr) return StepReused(call.step, "ranks");
    ranks = group->world_size();
  }
  absl::Status one_of_them = CheckRank(call.rank, ranks);
  if (!one_of_them.ok()) return one_of_them;
  return place;
}

Turn Session::State::Arrive(ForwardShard& shard, Settle settle) {
  const ForwardCall& call = shard.call;
  std::lock_guard lock(mutex);
  const absl::StatusOr<StepWindow::Place> place = PlaceInGroup(call);
  if (!place.ok()) return {.status = place.status()};
  if (*place == StepWindow::Place::kTaken) {
    return Replay(shard, std::move(settle));
  }
  const bool keeps = shard.checked != nullptr &&
                     config.kept_input_policy == KeptInputPolicy::kKeep;
  return Join(KeyOf(call), world_size,
              {.rank = call.rank,
               .fingerprint = shard.fingerprint,
               .writer_token = call.writer_token,
               .new_weight = shard.new_weight,
               .input = keeps ? InputOf(shard, nullptr) : nullptr,
               .settle = std::move(settle)},
              std::move(shard.sums));
}

Turn Session::State::Replay(const ForwardShard& shard, Settle settle) {
  const std::uint64_t step = shard.call.step;
  const GroupStepPtr& group = window.Find(step)->group;
  const Fingerprint& taken = group->fingerprints[shard.call.rank];
  if (taken.input != shard.fingerprint.input) {
    return {.status = StepReused(step, "rank, x and gamma")};
  }
  if (taken.parameters != shard.fingerprint.parameters) {
    return {.status = StepReused(step, "new_weight and beta")};
  }
  ++counters.replay_count;
  Turn turn = {.replayed = true, .change = changes};
  turn.told.push_back({std::move(settle), GroupOutcome{group, changes}});
  return turn;
}

// The others cannot go on either, if it was their next step.
std::vector<Told> Session::State::Refuse(const ForwardCall& call,
                                         const absl::Status& why) {
  std::lock_guard lock(mutex);
  const absl::StatusOr<StepWindow::Place> place = Place(call);
  if (!place.ok() || *place != StepWindow::Place::kNext) return {};
  return barrier.Refuse(KeyOf(call), call.rank, why);
}

// As a Forward's, if it may take part at all and only its arguments are wrong:
// whoever has to send x again will.
std::vector<Told> Session::State::Refuse(const BackwardCall& call,
                                         const absl::Status& why) {
  std::lock_guard lock(mutex);
  if (absl::IsFailedPrecondition(why) || !GroupOf(call).ok()) return {};
  return barrier.Refuse(KeyOf(call), call.rank, why);
}

absl::StatusOr<GroupOutcome> Session::State::CompleteForward(
    CompleteAttempt attempt, std::vector<Input>& dropped) {
  const Normalization& constants = config.normalization;
  auto& sums = std::get<kernel::ForwardSums>(attempt.sums);
  absl::Status refused = RefuseDegenerate(sums, constants);
  if (!refused.ok()) return refused;
  kernel::Statistics statistics = FinishForwardAndUpdate(
      sums, constants.eps,
      {.new_weight = attempt.ranks.front().new_weight,
       .running_ddof = static_cast<int>(constants.running_ddof)},
      ToKernel(constants.degenerate_policy), running.mean, running.var,
      running.batch_count);
  auto step = std::make_shared<GroupStep>();
  step->change = ++changes;
  step->fingerprints = FingerprintsOf(attempt);
  step->batch = std::make_shared<const kernel::TrainBatch>(
      kernel::TrainBatch{std::move(sums), std::move(statistics)});
  ++counters.forward_count;
  dropped = window.MakeRoom();
  StepRecord record;
  record.group = step;
  for (const Arrival& arrival : attempt.ranks) {
    InputQuota::Ticket& ticket = record.inputs.emplace_back();
    if (arrival.input == nullptr) continue;
    KeptInput input = *arrival.input;
    input.batch = step->batch;
    InputQuota::Kept kept = quota.Keep(
        std::make_shared<const KeptInput>(std::move(input)), account);
    ticket = std::move(kept.ticket);
    std::move(kept.evicted.begin(), kept.evicted.end(),
              std::back_inserter(dropped));
  }
  window.Take(std::move(record));
  return GroupOutcome{std::move(step), changes,
                      std::make_shared<SharedReply>()};
}

// ---- Backward

void Session::BackwardInGroup(BackwardCall call,
                              const Completion<BackwardResult>& done) {
  State& state = *state_;
  const BackwardCall header = BackwardHeaderOf(call);
  absl::StatusOr<BackwardShard> summed = state.FindShard(std::move(call));
  if (!summed.ok()) {
    state.Tell(state.Refuse(header, summed.status()));
    return done(summed.status());
  }
  const auto shard = std::make_shared<BackwardShard>(*std::move(summed));
  const auto tell = [self = shared_from_this(), shard,
                     done](const absl::StatusOr<GroupOutcome>& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    const State& its = *self->state_;
    BackwardResult result =
        DifferentiateShard(*shard, *outcome->step, its.config, its.workers);
    result.change = outcome->change;
    done(std::move(result));
  };
  absl::Status arrived =
      Act(state.Arrive(*shard, {.tell = tell, .computes = true}));
  if (!arrived.ok()) done(arrived);
}

absl::StatusOr<BackwardShard> Session::State::FindShard(BackwardCall call) {
  absl::Status status = CheckBackward(call, limits);
  if (status.ok()) status = CheckPass(call.pass);
  if (!status.ok()) return status;
  absl::StatusOr<GroupStepPtr> step = FindGroup(call);
  if (!step.ok()) return step.status();
  Input input;
  if (call.x.has_value()) {
    absl::StatusOr<ResentShard> resent =
        SumResent(call, *call.x, config, limits, workers);
    if (!resent.ok()) return resent.status();
    if (resent->digest != (*step)->fingerprints[call.rank].input) {
      return StepReused(call.step, "rank, x and gamma");
    }
    resent->input.batch = (*step)->batch;
    input = std::make_shared<const KeptInput>(std::move(resent->input));
  } else {
    std::lock_guard lock(mutex);
    const StepRecord* record = window.Find(call.step);
    if (record != nullptr && call.rank < record->inputs.size()) {
      input = record->inputs[call.rank].Use();
    }
    if (input == nullptr) return InputEvicted(call.step, window.capacity());
  }
  return SumBackward(std::move(call), std::move(input), config, limits,
                     workers);
}

absl::StatusOr<GroupStepPtr> Session::State::FindGroup(
    const BackwardCall& call) {
  std::lock_guard lock(mutex);
  absl::StatusOr<GroupStepPtr> step = GroupOf(call);
  if (step.ok()) barrier.See(call.rank, clock());
  return step;
}

// The step that a Backward is of: it has to be in the window.
absl::StatusOr<GroupStepPtr> Session::State::GroupOf(
    const BackwardCall& call) const {
  absl::Status status = CheckCaller(call);
  if (status.ok()) status = window.CheckTaken(call.step);
  if (!status.ok()) return status;
  const StepRecord* record = window.Find(call.step);
  if (record == nullptr) return window.TooOld(call.step);
  if (record->group == nullptr) return StepReused(call.step, "ranks");
  status = CheckRank(call.rank, record->group->world_size());
  if (!status.ok()) return status;
  return record->group;
}

Turn Session::State::Arrive(BackwardShard& shard, Settle settle) {
  const BackwardCall& call = shard.call;
  std::lock_guard lock(mutex);
  const absl::StatusOr<GroupStepPtr> step = GroupOf(call);
  if (!step.ok()) return {.status = step.status()};
  const auto pass = (*step)->passes.find(call.pass);
  if (pass != (*step)->passes.end()) {
    if (pass->second->digests[call.rank] != shard.digest) {
      return {.status = StepReused(call.step, "rank and dy")};
    }
    ++counters.replay_count;
    Turn turn = {.replayed = true, .change = changes};
    turn.told.push_back({std::move(settle), GroupOutcome{*step, changes}});
    return turn;
  }
  return Join(KeyOf(call), (*step)->world_size(),
              {.rank = call.rank,
               .fingerprint = {.input = shard.digest, .parameters = {}},
               .writer_token = call.writer_token,
               .settle = std::move(settle)},
              HasLocalGradients() ? shard.sums : std::move(shard.sums));
}

absl::StatusOr<GroupOutcome> Session::State::CompleteBackward(
    CompleteAttempt attempt) {
  const StepRecord* record = window.Find(attempt.key.step);
  if (record == nullptr || record->group == nullptr) {
    return window.TooOld(attempt.key.step);
  }
  const Normalization& constants = config.normalization;
  auto pass = std::make_shared<GroupBackward>();
  pass->change = ++changes;
  for (const Fingerprint& fingerprint : FingerprintsOf(attempt)) {
    pass->digests.push_back(fingerprint.input);
  }
  const kernel::ForwardSums& batch = record->group->batch->sums;
  const auto& sums = std::get<kernel::BackwardSums>(attempt.sums);
  const kernel::Degenerate degenerate = ToKernel(constants.degenerate_policy);
  pass->gradients = FinishBackward(batch, sums, constants.eps, degenerate);
  if (config.gradient_reduction == GradientReduction::kMean) {
    AverageOverRanks(batch, sums, constants.eps, degenerate,
                     record->group->world_size(), pass->gradients);
  }
  auto step = std::make_shared<GroupStep>(*record->group);
  step->passes[attempt.key.pass] = std::move(pass);
  window.Replace(attempt.key.step, step);
  ++counters.backward_count;
  return GroupOutcome{std::move(step), changes,
                      std::make_shared<SharedReply>()};
}

// ---- Sync

void Session::Sync(SyncCall call, const Completion<SyncResult>& done) {
  absl::Status status = CheckGroupStep(call.step);
  if (!status.ok()) return done(status);
  if (call.forward.has_value()) {
    return SyncForward(std::move(call), done);
  }
  SyncBackward(std::move(call), done);
}

void Session::SyncForward(SyncCall call, const Completion<SyncResult>& done) {
  State& state = *state_;
  const ForwardCall forward = HeaderOf(call);
  absl::Status hopeful = state.LookAheadInGroup(forward);
  if (!hopeful.ok()) return done(hopeful);
  absl::StatusOr<ForwardShard> taken =
      TakeForwardSums(std::move(call), state.config);
  if (!taken.ok()) {
    state.Tell(state.Refuse(forward, taken.status()));
    return done(taken.status());
  }
  const auto shard = std::make_shared<ForwardShard>(*std::move(taken));
  const auto replayed = std::make_shared<bool>(false);
  const auto tell = [shard, replayed,
                     done](const absl::StatusOr<GroupOutcome>& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    SyncResult result = ResultOf(*shard, *outcome->step);
    result.shared = outcome->reply;
    result.replayed = *replayed;
    result.change = outcome->change;
    done(std::move(result));
  };
  Turn turn = state.Arrive(*shard, {.tell = tell, .computes = false});
  *replayed = turn.replayed;
  absl::Status arrived = Act(std::move(turn));
  if (!arrived.ok()) done(arrived);
}

void Session::SyncBackward(SyncCall call, const Completion<SyncResult>& done) {
  State& state = *state_;
  absl::Status status = CheckPass(call.pass);
  if (!status.ok()) return done(status);
  const BackwardCall header = BackwardHeaderOf(call);
  absl::StatusOr<BackwardShard> taken =
      TakeBackwardSums(std::move(call), state.config);
  if (!taken.ok()) {
    state.Tell(state.Refuse(header, taken.status()));
    return done(taken.status());
  }
  const auto shard = std::make_shared<BackwardShard>(*std::move(taken));
  const auto tell = [self = shared_from_this(), shard,
                     done](const absl::StatusOr<GroupOutcome>& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    const State& its = *self->state_;
    SyncResult result = ResultOf(*shard, *outcome->step, its.config);
    if (!its.HasLocalGradients()) result.shared = outcome->reply;
    result.change = outcome->change;
    done(std::move(result));
  };
  // To finish gradients of its own for a rank takes as long as waking a thread.
  constexpr std::int64_t kManyChannels = 512;
  const bool computes =
      state.HasLocalGradients() && state.config.channels > kManyChannels;
  absl::Status arrived =
      Act(state.Arrive(*shard, {.tell = tell, .computes = computes}));
  if (!arrived.ok()) done(arrived);
}

// ---- The barrier

Turn Session::State::Join(const PhaseKey& key, std::uint32_t ranks,
                          Arrival arrival, PhaseSums sums) {
  const absl::Time now = clock();
  barrier.See(arrival.rank, now);
  Barrier::Result arrived = barrier.Arrive(
      key, ranks, std::move(arrival), std::move(sums), now,
      [this](const Arrival& former) {
        return !writers.Check(former.rank, former.writer_token).ok();
      });
  Turn turn;
  turn.status = std::move(arrived.status);
  turn.told = std::move(arrived.told);
  if (!arrived.complete.has_value()) return turn;
  std::vector<Settle> settles;
  settles.reserve(arrived.complete->ranks.size());
  for (Arrival& there : arrived.complete->ranks) {
    settles.push_back(std::move(there.settle));
  }
  const absl::StatusOr<GroupOutcome> outcome =
      Complete(std::move(*arrived.complete), turn.dropped);
  if (outcome.ok()) turn.change = outcome->change;
  for (Settle& settle : settles) {
    turn.told.push_back({std::move(settle), outcome});
  }
  return turn;
}

absl::StatusOr<GroupOutcome> Session::State::Complete(
    CompleteAttempt attempt, std::vector<Input>& dropped) {
  return attempt.key.phase == Phase::kForward
             ? CompleteForward(std::move(attempt), dropped)
             : CompleteBackward(std::move(attempt));
}

void Session::State::Tell(std::vector<Told> told) const {
  std::vector<Task> quick;
  for (Told& one : told) {
    const bool computes = one.settle.computes && one.outcome.ok();
    Task task = [tell = std::move(one.settle.tell),
                 outcome = std::move(one.outcome)] { tell(outcome); };
    if (computes) {
      run(std::move(task));
    } else {
      quick.push_back(std::move(task));
    }
  }
  Spread(run, std::move(quick));
}

absl::Status Session::Act(Turn turn) {
  if (turn.change == 0) state_->watch.Add(shared_from_this());
  Publish(turn.change, [&] {
    state_->Tell(std::move(turn.told));
    State::Tell(turn.news);
  });
  return turn.status;
}

void Session::Refuse(const PhaseKey& key, std::uint32_t rank,
                     const absl::Status& why) {
  std::vector<Told> told;
  {
    std::lock_guard lock(state_->mutex);
    if (rank < state_->world_size) {
      state_->barrier.See(rank, state_->clock());
    }
    told = state_->barrier.Refuse(key, rank, why);
  }
  state_->Tell(std::move(told));
}

bool Session::AbortOverdue(absl::Duration timeout) {
  std::vector<Told> told;
  bool goes_on = false;
  {
    std::lock_guard lock(state_->mutex);
    told = state_->barrier.AbortOverdue(timeout, state_->clock());
    goes_on =
        !state_->barrier.is_empty() || !state_->presence.members().empty();
  }
  state_->Tell(std::move(told));
  return goes_on;
}

std::vector<Stragglers> Session::FindStragglers() {
  std::lock_guard lock(state_->mutex);
  return state_->barrier.FindStragglers(state_->clock());
}

void Session::EndBarriers(const absl::Status& why) {
  Turn turn;
  {
    std::lock_guard lock(state_->mutex);
    turn = state_->EndAll(why);
  }
  state_->Tell(std::move(turn.told));
  State::Tell(turn.news);
}

Turn Session::State::EndAll(const absl::Status& why) {
  return {.told = barrier.AbortAll(why), .news = presence.EndFrom(0, why)};
}

// ---- Presence

void Session::State::Tell(const std::vector<Presence::News>& news) {
  for (const Presence::News& one : news) one.on_presence(one.what);
}

absl::StatusOr<std::uint64_t> Session::Join(std::uint32_t rank,
                                            std::string_view job,
                                            std::string_view writer_token,
                                            OnPresence on_presence) {
  State& state = *state_;
  std::vector<Presence::News> news;
  absl::StatusOr<std::uint64_t> ticket = 0;
  {
    std::lock_guard lock(state.mutex);
    absl::Status welcome = state.CheckOpen();
    if (welcome.ok()) welcome = CheckRank(rank, state.world_size);
    if (welcome.ok()) welcome = CheckJob(job);
    if (welcome.ok()) welcome = state.writers.Check(rank, writer_token);
    if (!welcome.ok()) return welcome;
    ticket = state.presence.Join(rank, job, std::move(on_presence),
                                 state.window.last_step(), news);
    if (!ticket.ok()) return ticket;
    state.barrier.See(rank, state.clock());
    state.barrier.Return(rank);
  }
  state.watch.Add(shared_from_this());
  State::Tell(news);
  return ticket;
}

void Session::Leave(std::uint32_t rank, std::uint64_t ticket) {
  Turn turn;
  {
    std::lock_guard lock(state_->mutex);
    const bool was_there = state_->presence.Leave(
        rank, ticket, state_->window.last_step(), turn.news);
    if (was_there) turn.told = state_->barrier.Leave(rank, state_->clock());
  }
  state_->Tell(std::move(turn.told));
  State::Tell(turn.news);
}

GroupView Session::State::ViewGroup() const {
  GroupView view = barrier.View(clock());
  for (const auto& [rank, member] : presence.members()) {
    const auto at = std::find_if(
        view.ranks.begin(), view.ranks.end(),
        [rank = rank](const RankView& each) { return each.rank == rank; });
    if (at != view.ranks.end()) at->job = member.job;
  }
  return view;
}

}  // namespace batchnorm::session
