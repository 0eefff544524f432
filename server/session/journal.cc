#include "server/session/journal.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/session_row.h"

namespace batchnorm::session {

namespace {

constexpr absl::Duration kRetryAfter = absl::Milliseconds(100);

absl::Status Unavailable(const std::string& why) {
  return MakeError(absl::StatusCode::kUnavailable,
                   absl::StrCat(why, "; send the same call again"),
                   {.reason = "STORE_FAILED", .retry_after = kRetryAfter});
}

}  // namespace

absl::Status StoreFailed(const absl::Status& status, std::string_view session) {
  if (absl::IsDataLoss(status)) return SessionDamaged(session);
  return Unavailable(absl::StrCat("the store failed: ", status.message()));
}

Journal::Journal(storage::Committer& committer, const Run& answer,
                 storage::Version version, Describe describe)
    : committer_(committer),
      answer_(answer),
      describe_(std::move(describe)),
      version_(version) {}

void Journal::Write(Change change, const std::shared_ptr<const void>& session) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = std::max(wanted_, change);
    if (is_writing_ || !status_.ok() || wanted_ <= lasting_) return;
    is_writing_ = true;
  }
  Begin(session);
}

void Journal::Begin(const std::shared_ptr<const void>& session) {
  Entry entry = describe_(version_, lasting_);
  committer_.Commit(std::move(entry.write),
                    [this, change = entry.change,
                     session](const absl::StatusOr<storage::Outcome>& outcome) {
                      OnWritten(change, outcome, session);
                    });
}

void Journal::OnWritten(Change change,
                        const absl::StatusOr<storage::Outcome>& outcome,
                        const std::shared_ptr<const void>& session) {
  std::vector<Waiter> ready;
  absl::Status status;
  bool has_more = false;
  {
    const std::lock_guard lock(mutex_);
    if (!outcome.ok()) {
      status_ = Unavailable(
          absl::StrCat("the store failed: ", outcome.status().message()));
    } else if (*outcome == storage::Outcome::kConflict) {
      status_ = Unavailable("the session was written by somebody else");
    } else {
      lasting_ = change;
      ++version_.number;
    }
    has_more = status_.ok() && wanted_ > lasting_;
    is_writing_ = has_more;
    status = status_;
    ready = TakeReady();
  }
  if (has_more) Begin(session);
  std::vector<Task> tasks;
  tasks.reserve(ready.size());
  for (Waiter& waiter : ready) {
    tasks.emplace_back(
        [done = std::move(waiter.done), status] { done(status); });
  }
  SpreadElsewhere(answer_, std::move(tasks));
}

// REQUIRES: the mutex is held.
std::vector<Journal::Waiter> Journal::TakeReady() {
  const auto waits = [this](const Waiter& waiter) {
    return status_.ok() && waiter.change > lasting_;
  };
  const auto ready = std::partition(waiters_.begin(), waiters_.end(), waits);
  std::vector<Waiter> taken(std::make_move_iterator(ready),
                            std::make_move_iterator(waiters_.end()));
  waiters_.erase(ready, waiters_.end());
  return taken;
}

void Journal::WhenItLasts(Change change, Done done) {
  absl::Status status;
  {
    const std::lock_guard lock(mutex_);
    if (status_.ok() && change > lasting_ && !is_volatile()) {
      waiters_.push_back({change, std::move(done)});
      return;
    }
    // What lasts does so whatever happened later.
    if (change > lasting_) status = status_;
  }
  done(status);
}

absl::Status Journal::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace batchnorm::session
