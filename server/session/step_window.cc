#include "server/session/step_window.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"

namespace batchnorm::session {

namespace {

absl::Status StepError(const char* reason, const std::string& text,
                       std::map<std::string, std::string> metadata) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "step: " + text,
      {.reason = reason, .field = "step", .metadata = std::move(metadata)});
}

}  // namespace

StepWindow::StepWindow(std::uint32_t capacity, std::uint64_t last_step,
                       const std::vector<StoredStep>& steps)
    : capacity_(capacity), last_step_(last_step) {
  for (const auto& [fingerprint, group] : steps) {
    StepRecord& record = records_.emplace_back();
    record.fingerprint = fingerprint;
    record.group = group;
  }
}

absl::Status StepWindow::CheckAcknowledged(std::uint64_t acknowledged_step,
                                           std::string_view field) const {
  if (acknowledged_step <= last_step_) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kDataLoss,
      absl::StrCat(std::string(field), ": expected at most ", last_step_,
                   ", the server's last step, got ", acknowledged_step,
                   "; the session has lost steps"),
      {.reason = "STEPS_LOST",
       .field = std::string(field),
       .metadata = {{"last_step", absl::StrCat(last_step_)},
                    {"acknowledged_step", absl::StrCat(acknowledged_step)}}});
}

absl::StatusOr<StepWindow::Place> StepWindow::PlaceForward(
    std::uint64_t step) const {
  if (step == 0 || step == last_step_ + 1) return Place::kNext;
  if (step > last_step_) {
    return StepError("STEP_GAP",
                     absl::StrCat("expected ", last_step_ + 1,
                                  ", the next, or an earlier one, got ", step),
                     {{"last_step", absl::StrCat(last_step_)},
                      {"expected_step", absl::StrCat(last_step_ + 1)}});
  }
  if (step < oldest_step()) return TooOld(step);
  return Place::kTaken;
}

absl::Status StepWindow::CheckTaken(std::uint64_t step) const {
  if (step <= last_step_) return absl::OkStatus();
  return StepError("STEP_GAP",
                   absl::StrCat("expected at most ", last_step_,
                                ", the last step taken, got ", step),
                   {{"last_step", absl::StrCat(last_step_)},
                    {"expected_step", absl::StrCat(last_step_)}});
}

absl::Status StepWindow::TooOld(std::uint64_t step) const {
  return StepError("STEP_TOO_OLD",
                   absl::StrCat("expected at least ", oldest_step(),
                                ", the oldest that can be replayed (window ",
                                capacity_, "), got ", step),
                   {{"last_step", absl::StrCat(last_step_)},
                    {"oldest_step", absl::StrCat(oldest_step())}});
}

const StepRecord* StepWindow::Find(std::uint64_t step) const {
  if (step > last_step_ || step < oldest_step()) return nullptr;
  return &records_[step - oldest_step()];
}

std::vector<InputQuota::Input> StepWindow::MakeRoom() {
  if (records_.size() < capacity_) return {};
  StepRecord& oldest = records_.front();
  std::vector<InputQuota::Input> inputs;
  inputs.push_back(oldest.input.Release());
  for (InputQuota::Ticket& input : oldest.inputs) {
    inputs.push_back(input.Release());
  }
  records_.pop_front();
  return inputs;
}

void StepWindow::Take(StepRecord record) {
  ++last_step_;
  records_.push_back(std::move(record));
}

void StepWindow::Replace(std::uint64_t step, GroupStepPtr group) {
  records_[step - oldest_step()].group = std::move(group);
}

std::deque<StepRecord> StepWindow::Clear() {
  return std::exchange(records_, {});
}

std::deque<StepRecord> StepWindow::Restart(std::uint64_t last_step) {
  last_step_ = last_step;
  return Clear();
}

std::vector<StoredStep> StepWindow::Steps() const {
  std::vector<StoredStep> steps;
  steps.reserve(records_.size());
  for (const StepRecord& record : records_) {
    steps.push_back({record.fingerprint, record.group});
  }
  return steps;
}

}  // namespace batchnorm::session
