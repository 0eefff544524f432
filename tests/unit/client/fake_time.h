// Time that passes only where it is slept, and chance that is a constant.
#ifndef BATCHNORMD_TESTS_UNIT_CLIENT_FAKE_TIME_H_
#define BATCHNORMD_TESTS_UNIT_CLIENT_FAKE_TIME_H_

#include <chrono>
#include <vector>

#include "absl/time/time.h"
#include "client/retry_policy.h"

namespace batchnorm::client {

// Used by one thread. Outlives the environments it makes.
class FakeTime {
 public:
  RetryEnvironment Environment(double random = 0) {
    return {.now = [this] { return now_; },
            .sleep =
                [this](absl::Duration pause) {
                  pauses_.push_back(pause);
                  Pass(pause);
                },
            .random = [random] { return random; }};
  }

  void Pass(absl::Duration duration) {
    now_ += absl::ToChronoNanoseconds(duration);
  }

  const std::vector<absl::Duration>& pauses() const { return pauses_; }

 private:
  std::chrono::steady_clock::time_point now_;
  std::vector<absl::Duration> pauses_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_TESTS_UNIT_CLIENT_FAKE_TIME_H_
