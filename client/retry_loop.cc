#include "client/retry_loop.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/error.h"

namespace batchnorm::client {
namespace {

// After a group has come together again nobody should sleep on for long.
constexpr absl::Duration kMaxGroupBackoff = absl::Seconds(1);

// Whether a barrier ended as ranks were missing, and may succeed the next time.
bool IsIncompleteGroup(const absl::Status& failure) {
  return absl::IsAborted(failure) && RetryAfter(failure).has_value() &&
         Reason(failure) != "CALL_REPLACED";
}

// Whether trying again is right: the failure passes, and the request has not
// had an effect, or has the same one again.
bool IsRetryable(const absl::Status& failure, Repeat repeat) {
  switch (failure.code()) {
    case absl::StatusCode::kAborted:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return RetryAfter(failure).has_value();
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return repeat == Repeat::kSafe;
    default:
      return false;
  }
}

}  // namespace

Attempts::Attempts(const RetryPolicy& policy,
                   const RetryEnvironment& environment,
                   absl::Duration attempt_timeout, Repeat repeat)
    : policy_(policy),
      environment_(environment),
      attempt_timeout_(attempt_timeout),
      repeat_(repeat),
      start_(environment.now()),
      backoff_(policy.initial_backoff) {}

absl::Duration Attempts::Elapsed() const {
  return absl::FromChrono(environment_.now() - start_);
}

absl::Duration Attempts::Timeout() const {
  return std::min(attempt_timeout_, policy_.total_timeout - Elapsed());
}

absl::Duration Attempts::NextBackoff(absl::Duration most) {
  const absl::Duration backoff = std::min(backoff_, most);
  backoff_ = backoff * policy_.multiplier;
  return backoff * (0.5 + 0.5 * environment_.random());
}

std::optional<absl::Duration> Attempts::PauseAfter(
    const absl::Status& failure) {
  if (!IsRetryable(failure, repeat_)) return std::nullopt;
  const absl::Duration asked =
      RetryAfter(failure).value_or(absl::ZeroDuration());
  const absl::Duration most =
      IsIncompleteGroup(failure)
          ? std::min(kMaxGroupBackoff, policy_.max_backoff)
          : policy_.max_backoff;
  return std::max(asked, NextBackoff(most));
}

bool Attempts::WaitAfter(const absl::Status& failure) {
  ++made_;
  if (!IsIncompleteGroup(failure)) ++counted_;
  if (counted_ >= policy_.max_attempts || policy_.max_attempts <= 1) {
    return false;
  }
  const std::optional<absl::Duration> pause = PauseAfter(failure);
  if (!pause.has_value() || Elapsed() + *pause >= policy_.total_timeout) {
    return false;
  }
  environment_.sleep(*pause);
  return true;
}

absl::Status Attempts::Conclude(const absl::Status& failure) const {
  if (made_ <= 1) return failure;
  absl::Status status(
      failure.code(),
      absl::StrCat(
          failure.message(), " (", made_, " attempts in ",
          absl::FormatDuration(absl::Trunc(Elapsed(), absl::Milliseconds(1))),
          ")"));
  failure.ForEachPayload(
      [&status](absl::string_view url, const absl::Cord& payload) {
        status.SetPayload(url, payload);
      });
  return status;
}

}  // namespace batchnorm::client
