// The steps of a session with one rank: they wait for nobody.
#include <iterator>
#include <mutex>
#include <utility>

#include "server/session/error.h"
#include "server/session/fingerprint.h"
#include "server/session/policy.h"
#include "server/session/session_state.h"

namespace batchnorm::session {

namespace {

using Input = InputQuota::Input;

}  // namespace

// ---- Forward

absl::StatusOr<ForwardResult> Session::State::Forward(const ForwardCall& call) {
  const absl::StatusOr<CheckedForward> checked =
      CheckForward(call, config, limits);
  if (!checked.ok()) return checked.status();
  absl::Status ranked = CheckRank(
      call.rank, call.mode == Mode::kInference ? world_size.load() : 1);
  if (!ranked.ok()) return ranked;
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

absl::StatusOr<Taken> Session::State::TakeStep(const ForwardCall& call,
                                               const Batch& batch) {
  std::vector<Input> dropped;  // freed when the mutex is no longer held
  std::lock_guard lock(mutex);
  const absl::StatusOr<StepWindow::Place> place = Place(call);
  if (!place.ok()) return place.status();
  if (*place == StepWindow::Place::kTaken) return Replay(call.step, batch);
  if (world_size > 1) return GroupChanged("the session is a group by now");
  dropped = Apply(batch);
  ++changes;
  return Taken{
      .step = window.last_step(), .replayed = false, .change = changes};
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
  std::vector<Input> expired = window.MakeRoom();
  InputQuota::Kept kept;
  if (batch.kept != nullptr) kept = quota.Keep(batch.kept, account);
  StepRecord record;
  record.fingerprint = batch.fingerprint;
  record.input = std::move(kept.ticket);
  window.Take(std::move(record));
  std::move(kept.evicted.begin(), kept.evicted.end(),
            std::back_inserter(expired));
  return expired;
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

// ---- Backward

absl::StatusOr<BackwardResult> Session::State::Backward(
    const BackwardCall& call) {
  absl::Status checked = CheckBackward(call, limits);
  if (checked.ok()) checked = CheckRank(call.rank, 1);
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

}  // namespace batchnorm::session
