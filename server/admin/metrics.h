// What an operator watches, in Prometheus' format over HTTP.
//
// Calls are counted as they end; what is there now (sessions, queues, memory)
// is asked for when somebody looks. Labels are method, code, pool and result,
// of which there are few: nothing here grows with sessions, tenants or
// channels. Thread-safe.
#ifndef BATCHNORMD_SERVER_ADMIN_METRICS_H_
#define BATCHNORMD_SERVER_ADMIN_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace batchnorm::admin {

// A call that has been answered, or given up by its caller.
struct CallRecord {
  std::string_view method;  // "Forward"
  std::string_view code;    // "OK", "INVALID_ARGUMENT"
  absl::Duration duration;  // from the request's arrival to the answer
  std::int64_t request_bytes = 0;
  std::int64_t reply_bytes = 0;
};

// What there is now, and sums of what was.
struct Levels {
  std::int64_t sessions = 0;
  std::int64_t loaded_sessions = 0;
  std::int64_t kept_input_bytes = 0;
  std::int64_t evicted_inputs = 0;
  std::int64_t bytes_in_flight = 0;
  std::int64_t queued_tensor_calls = 0;
  std::int64_t queued_session_calls = 0;
  std::int64_t reloads_done = 0;
  std::int64_t reloads_failed = 0;
  absl::Duration kernel_time;
};

class Metrics {
 public:
  // Serves GET /metrics on HOST:PORT (port 0: any free one). `look` is called
  // from other threads until the object is gone. UNAVAILABLE naming the address
  // if it cannot be bound.
  static absl::StatusOr<std::unique_ptr<Metrics>> Start(
      const std::string& address, const std::string& version,
      std::function<Levels()> look);
  ~Metrics();

  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // HOST:PORT with the real port.
  const std::string& address() const;

  void Count(const CallRecord& call);

 private:
  struct State;
  explicit Metrics(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::admin

#endif  // BATCHNORMD_SERVER_ADMIN_METRICS_H_
