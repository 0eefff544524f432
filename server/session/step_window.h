// The last steps of a session, and the rules by which a call's step is taken,
// replayed or refused.
//
//     older        kept records            next
//   ..., 4, 5 |  6, 7, ..., 12, 13  |  14  |  15, 16, ...
//   TOO_OLD   |  replayed           | taken|  GAP
//
// Thread-compatible: a session's lock guards it.
#ifndef BATCHNORMD_SERVER_SESSION_STEP_WINDOW_H_
#define BATCHNORMD_SERVER_SESSION_STEP_WINDOW_H_

#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/fingerprint.h"
#include "server/session/group_step.h"
#include "server/session/input_quota.h"

namespace batchnorm::session {

struct StepRecord {
  Fingerprint fingerprint;   // of one rank
  InputQuota::Ticket input;  // empty where x is not kept
  // Of a group instead, each rank's input.
  GroupStepPtr group;
  std::vector<InputQuota::Ticket> inputs;
};

// What of a record outlives the server.
struct StoredStep {
  Fingerprint fingerprint;
  GroupStepPtr group;  // null: one rank's
};

class StepWindow {
 public:
  enum class Place : std::uint8_t { kNext, kTaken };

  // As it was left by others: the steps up to the last one, without inputs.
  // REQUIRES: capacity is at least 1 and at least their number.
  explicit StepWindow(std::uint32_t capacity, std::uint64_t last_step = 0,
                      const std::vector<StoredStep>& steps = {});

  std::uint64_t last_step() const { return last_step_; }

  // DATA_LOSS `STEPS_LOST` if the caller has acknowledged a later step than
  // the last: the session is not what the caller thinks, and saying so is
  // better than a silent rollback.
  absl::Status CheckAcknowledged(
      std::uint64_t acknowledged_step,
      std::string_view field = "acknowledged_step") const;

  // Where the step of a TRAIN Forward lies; 0 means the next.
  // FAILED_PRECONDITION `STEP_GAP` or `STEP_TOO_OLD`.
  absl::StatusOr<Place> PlaceForward(std::uint64_t step) const;

  // FAILED_PRECONDITION `STEP_GAP` for a step that has not been taken.
  absl::Status CheckTaken(std::uint64_t step) const;

  // Null where the step has no record here.
  const StepRecord* Find(std::uint64_t step) const;

  // Lets the oldest step go if the window is full, so that one can be taken.
  // Returns the inputs it kept, if any.
  std::vector<InputQuota::Input> MakeRoom();

  // Takes the next step. REQUIRES: MakeRoom was called.
  void Take(StepRecord record);

  // REQUIRES: Find(step) is a group's.
  void Replace(std::uint64_t step, GroupStepPtr group);

  // FAILED_PRECONDITION `STEP_TOO_OLD`.
  absl::Status TooOld(std::uint64_t step) const;

  // Forgets all records, and returns them. The last step stays.
  std::deque<StepRecord> Clear();

  // The same, and goes on after another step.
  std::deque<StepRecord> Restart(std::uint64_t last_step);

  // Of all records, the oldest step first.
  std::vector<StoredStep> Steps() const;

  std::uint32_t capacity() const { return capacity_; }

 private:
  std::uint64_t oldest_step() const { return last_step_ + 1 - records_.size(); }

  const std::uint32_t capacity_;
  std::uint64_t last_step_;
  std::deque<StepRecord> records_;  // of the steps up to last_step_
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_STEP_WINDOW_H_
