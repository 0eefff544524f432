// One batch-norm layer: its configuration, its running statistics, its last
// step, and what the steps of its window need for Backward.
//
// Thread-safe. One mutex a session guards its state; it is held for work per
// channel, never while elements are summed or applied. Calls take a completion,
// which may run on the caller's thread before the call returns or, once steps
// are committed to a store or wait for other ranks, later on another thread.
#ifndef BATCHNORMD_SERVER_SESSION_SESSION_H_
#define BATCHNORMD_SERVER_SESSION_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/kernel/batch_norm.h"
#include "server/kernel/workers.h"
#include "server/session/config.h"
#include "server/session/tensor.h"

namespace batchnorm::session {

class InputQuota;  // input_quota.h: which kept inputs fit in memory

template <typename Result>
using Completion = std::function<void(absl::StatusOr<Result>)>;

// What a call may bring and get back, fixed at start.
struct TensorLimits {
  std::int64_t max_tensor_bytes = std::int64_t{1} << 30;
  // The most a reply may hold; the transport's limit less its framing.
  std::int64_t max_reply_bytes = (std::int64_t{1} << 31) - (1 << 20);
};

// batchnorm.v1.ForwardRequest, and so on for the others. Rules are there.
struct ForwardCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  Mode mode = Mode::kTrain;
  std::uint64_t acknowledged_step = 0;
  std::optional<double> new_weight;
  std::optional<Tensor> gamma;
  std::optional<Tensor> beta;
  Tensor x;
};

struct ForwardResult {
  std::uint64_t step = 0;
  bool replayed = false;
  std::optional<kernel::Statistics> statistics;  // TRAIN
  std::uint64_t statistics_step = 0;             // INFERENCE
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::string y;
};

struct BackwardCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  std::uint64_t acknowledged_step = 0;
  std::optional<Tensor> gamma;
  std::optional<Tensor> x;
  Tensor dy;
};

struct BackwardResult {
  std::uint64_t step = 0;
  std::vector<double> dgamma;
  std::vector<double> dbeta;
  kernel::Dtype dtype = kernel::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::string dx;
};

struct RunningStatistics {
  std::vector<double> mean;
  std::vector<double> var;
  std::int64_t batch_count = 0;
};

struct Counters {
  std::int64_t forward_count = 0;
  std::int64_t replay_count = 0;
  std::int64_t inference_count = 0;
  std::int64_t backward_count = 0;
  std::int64_t evicted_input_count = 0;
};

// batchnorm.v1.Session at one instant.
struct Snapshot {
  std::string name;
  SessionConfig config;
  std::uint64_t last_step = 0;
  std::optional<RunningStatistics> running;  // empty in lists
  absl::Time create_time;
  std::int64_t kept_input_bytes = 0;
  Counters counters;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // REQUIRES: the configuration is valid. `quota` and `workers`, which share
  // the work of each tensor, outlive the session.
  Session(std::string name, SessionConfig config, const TensorLimits& limits,
          InputQuota& quota, absl::Time now,
          kernel::Workers& workers = kernel::Workers::Inline());
  ~Session();

  void Forward(ForwardCall call, Completion<ForwardResult> done);
  void Backward(BackwardCall call, Completion<BackwardResult> done);

  // FAILED_PRECONDITION `STEP_MOVED` if the last step is another.
  absl::Status Update(std::uint32_t world_size, std::uint64_t expected_step);

  // From now on every call ends with NOT_FOUND; kept inputs are dropped.
  void Close();

  Snapshot GetSnapshot(bool with_running) const;
  const std::string& name() const;
  const SessionConfig& config() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_H_
