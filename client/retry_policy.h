// When a failed attempt is made again, and after how long.
//
// UNAVAILABLE, DEADLINE_EXCEEDED and ABORTED are tried again with the same
// request; RESOURCE_EXHAUSTED only where the server says when (RetryInfo), and
// then not before. A call that is not safe to repeat is tried again only where
// the error says that nothing has changed: ABORTED, or that RetryInfo.
//
// A group that was not complete (ABORTED with RetryInfo) does not count towards
// max_attempts, and pauses for a second at most: the server has all callers
// wait at its barrier, and a rank that is started again may need a minute. Only
// total_timeout bounds it. CALL_REPLACED counts: two callers of one rank would
// take each other's place.
#ifndef BATCHNORMD_CLIENT_RETRY_POLICY_H_
#define BATCHNORMD_CLIENT_RETRY_POLICY_H_

#include <chrono>
#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace batchnorm::client {

// The pause before attempt k + 1 is initial_backoff * multiplier^(k-1), at most
// max_backoff, of which a random part between 50 % and 100 % is waited.
struct RetryPolicy {
  int max_attempts = 8;  // 1 never retries, not even for a group
  absl::Duration total_timeout = absl::Minutes(5);
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(10);
  double multiplier = 2;
};

// Functions are called from the threads that make calls.
struct RetryEnvironment {
  std::function<std::chrono::steady_clock::time_point()> now =
      std::chrono::steady_clock::now;
  std::function<void(absl::Duration)> sleep = absl::SleepFor;
  std::function<double()> random = RandomFraction;  // in [0, 1)

  static double RandomFraction();
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_RETRY_POLICY_H_
