// Internal. Makes the attempts of one call, as retry_policy.h describes them.
#ifndef BATCHNORMD_CLIENT_RETRY_LOOP_H_
#define BATCHNORMD_CLIENT_RETRY_LOOP_H_

#include <chrono>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/retry_policy.h"

namespace batchnorm::client {

// Whether an attempt whose outcome is unknown may be made again.
enum class Repeat : std::uint8_t { kSafe, kUnsafe };

// Counts the attempts of one call and paces them. Used by one thread.
class Attempts {
 public:
  // `attempt_timeout` ends each attempt. The references outlive the object.
  Attempts(const RetryPolicy& policy, const RetryEnvironment& environment,
           absl::Duration attempt_timeout, Repeat repeat);

  // How long the attempt that begins now may take.
  absl::Duration Timeout() const;

  // After a failed attempt: waits and returns true if another is to be made.
  bool WaitAfter(const absl::Status& failure);

  // The failure that ends the call; says how often it was tried.
  absl::Status Conclude(const absl::Status& failure) const;

 private:
  absl::Duration Elapsed() const;
  // At most `most`.
  absl::Duration NextBackoff(absl::Duration most);
  // The pause that the failure asks for; empty if it is final.
  std::optional<absl::Duration> PauseAfter(const absl::Status& failure);

  const RetryPolicy& policy_;
  const RetryEnvironment& environment_;
  const absl::Duration attempt_timeout_;
  const Repeat repeat_;
  const std::chrono::steady_clock::time_point start_;
  absl::Duration backoff_;
  int made_ = 0;
  int counted_ = 0;  // towards max_attempts
};

// `attempt` takes its timeout and returns a StatusOr.
template <typename Attempt>
auto RetryLoop(Attempts attempts, const Attempt& attempt)
    -> decltype(attempt(absl::Duration())) {
  for (;;) {
    auto result = attempt(attempts.Timeout());
    if (result.ok()) return result;
    if (!attempts.WaitAfter(result.status())) {
      return attempts.Conclude(result.status());
    }
  }
}

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_RETRY_LOOP_H_
