// One batch-norm layer: its configuration, its running statistics, its last
// step, and what the steps of its window need for Backward.
//
// Thread-safe. One mutex a session guards its state; it is held for work per
// channel, never while elements are summed or applied. Calls take a completion,
// which may run on the caller's thread before the call returns or, once steps
// wait for other ranks, later on another thread.
//
// A result must not be told to anybody before the change it names lasts: the
// session begins to store each change by itself, and WhenItLasts tells when.
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
#include "server/session/journal.h"
#include "server/session/running_statistics.h"
#include "server/session/session_row.h"
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
  std::string writer_token;  // empty: not a writer
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
  Journal::Change change = 0;  // what must last before this is told
};

struct BackwardCall {
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  std::uint64_t acknowledged_step = 0;
  std::string writer_token;  // empty: not a writer
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
  bool is_damaged = false;     // then only the name is known
  Journal::Change change = 0;  // what must last before this is told
};

struct Acquired {
  std::string writer_token;
  std::uint64_t last_step = 0;
  Journal::Change change = 0;  // what must last before this is told
};

// What all sessions share, and outlives them.
struct SessionServices {
  TensorLimits limits;
  InputQuota& quota;
  storage::Committer& committer;
  const std::function<absl::Time()>& clock;
  kernel::Workers& workers = kernel::Workers::Inline();
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // A session as it is stored under this version or, where the number is 0, is
  // to be: Store writes it. REQUIRES: the configuration is valid.
  Session(std::string name, SessionRow row, storage::Version version,
          const SessionServices& services);
  ~Session();

  // Begins to store a new session. Once, before all else.
  Journal::Change Store();

  void Forward(ForwardCall call, Completion<ForwardResult> done);
  void Backward(BackwardCall call, Completion<BackwardResult> done);

  // FAILED_PRECONDITION `STEP_MOVED` if the last step is another.
  absl::Status Update(std::uint32_t world_size, std::uint64_t expected_step);

  // Makes the caller the writer of a rank. DATA_LOSS `STEPS_LOST` if the last
  // step is below `at_least_step`, INVALID_ARGUMENT `BAD_RANK`, `BAD_NONCE`.
  absl::StatusOr<Acquired> Acquire(std::uint32_t rank,
                                   std::uint64_t at_least_step,
                                   std::string_view nonce);

  // Goes on from there: other statistics, another last step, an empty window,
  // no writer but the one that holds the token. FAILED_PRECONDITION `FENCED` if
  // none does. REQUIRES: vectors of config().channels numbers.
  absl::StatusOr<Snapshot> Import(std::uint64_t last_step,
                                  RunningStatistics running,
                                  std::string_view writer_token);

  // From now on every call ends with NOT_FOUND; kept inputs are dropped.
  void Close();

  // Calls `done` when the change lasts, with an error if it may not have been
  // stored; at once or later, on any thread, and `done` should be short.
  void WhenItLasts(Journal::Change change, Journal::Done done);
  // Waits for that.
  absl::Status AwaitLasting(Journal::Change change);

  // Not OK if what is stored is unknown: the session must be loaded anew.
  absl::Status StoreStatus() const;

  Snapshot GetSnapshot(bool with_running) const;
  const std::string& name() const;
  const SessionConfig& config() const;
  bool is_named() const;
  std::uint64_t incarnation() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_H_
