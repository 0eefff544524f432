// What calls take and return, as plain structs: batchnorm.v1 for programs that
// need not know protobuf. Thread-compatible value types; defaults are those of
// the contract (proto/batchnorm/v1), where each field is explained in full.
#ifndef BATCHNORMD_CLIENT_TYPES_H_
#define BATCHNORMD_CLIENT_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "proto/wire/tensor.h"

namespace batchnorm::client {

// Which statistics normalize a batch: its own, or the running ones.
enum class Mode : std::uint8_t { kTrain, kInference };

// What to do where a channel cannot be normalized: a single value under
// running_ddof 1, or variance 0 under eps 0.
enum class DegeneratePolicy : std::uint8_t { kReject, kUnitCorrection, kIeee };

// How the gradients of gamma and beta of several ranks are combined.
enum class GradientReduction : std::uint8_t { kLocal, kSum, kMean };

// Whether the server remembers x for Backward.
enum class KeptInputPolicy : std::uint8_t { kKeep, kDiscard };

// What a TRAIN Forward does with NaN or Inf in x.
enum class NonFinitePolicy : std::uint8_t { kReject, kPropagate };

// The constants of a layer. presets.h has those of the frameworks.
struct Normalization {
  std::vector<std::int32_t> channel_axes = {1};  // negative: from the end
  double eps = 1e-5;
  // The weight of a new batch in the running statistics; empty: plain average.
  std::optional<double> new_weight = 0.1;
  std::uint32_t running_ddof = 1;  // the running variance divides by n - this
  DegeneratePolicy degenerate_policy = DegeneratePolicy::kReject;

  bool operator==(const Normalization&) const = default;
};

// What a session is created with.
struct SessionConfig {
  std::int64_t channels = 0;  // required
  Normalization normalization = {};
  std::uint32_t world_size = 1;
  std::uint32_t step_window = 8;
  GradientReduction gradient_reduction = GradientReduction::kLocal;
  KeptInputPolicy kept_input_policy = KeptInputPolicy::kKeep;
  NonFinitePolicy non_finite_policy = NonFinitePolicy::kReject;

  bool operator==(const SessionConfig&) const = default;
};

// The averages that INFERENCE normalizes with; an element per channel.
struct RunningStatistics {
  std::vector<double> mean = {};
  std::vector<double> var = {};
  std::int64_t batch_count = 0;
};

// The statistics that normalized a batch; an element per channel.
struct BatchStatistics {
  std::int64_t count = 0;  // values per channel
  std::vector<double> mean = {};
  std::vector<double> mean_lo = {};  // mean + mean_lo has about 106 bits
  std::vector<double> var = {};      // population variance
  std::vector<double> inv_std = {};  // 1 / sqrt(var + eps)
};

// What a session has done since the server holds it in memory.
struct SessionCounters {
  std::int64_t forward_count = 0;
  std::int64_t replay_count = 0;
  std::int64_t inference_count = 0;
  std::int64_t backward_count = 0;
  std::int64_t evicted_input_count = 0;
};

// One rank of a group, as the server has seen it.
struct RankInfo {
  std::uint32_t rank = 0;
  std::optional<std::string> job = {};  // of its open Join
  std::optional<absl::Duration> seen_ago = {};
  std::optional<absl::Duration> last_wait = {};
};

// What the ranks of a group wait for.
enum class GroupPhase : std::uint8_t { kForward, kBackward };

// Ranks that wait for others now.
struct BarrierInfo {
  std::uint64_t step = 0;
  GroupPhase phase = GroupPhase::kForward;
  std::uint32_t pass = 0;
  std::uint64_t attempt = 0;
  absl::Duration age = absl::ZeroDuration();
  std::vector<std::uint32_t> present_ranks = {};
  std::vector<std::uint32_t> missing_ranks = {};
};

struct GroupInfo {
  std::vector<RankInfo> ranks = {};  // those of which anything is known
  std::vector<BarrierInfo> barriers = {};
};

// One session at one instant.
struct SessionInfo {
  std::string name = {};
  SessionConfig config = {};
  std::uint64_t last_step = 0;  // 0 before the first
  std::optional<RunningStatistics> running_statistics = {};  // empty in lists
  absl::Time create_time = absl::UnixEpoch();
  std::int64_t kept_input_bytes = 0;
  SessionCounters counters = {};
  std::optional<GroupInfo> group = {};  // of several ranks; empty in lists
};

struct ListSessionsArgs {
  std::int32_t page_size = 0;   // 0: 100, the most is 1,000
  std::string page_token = {};  // of the page before
  std::string prefix = {};      // of the names
};

struct SessionPage {
  std::vector<SessionInfo> sessions = {};  // in the order of their names
  std::string next_page_token = {};        // empty on the last page
};

struct UpdateSessionArgs {
  std::string name = {};
  std::uint32_t world_size = 1;
  std::uint64_t expected_step = 0;  // the last step, as the caller knows it
};

// What a checkpoint keeps of a session: all that INFERENCE and the next step
// depend on. It goes back into ImportSession as it came out of ExportSession.
struct SessionSnapshot {
  SessionConfig config = {};
  std::uint64_t last_step = 0;  // the last that is in the statistics
  RunningStatistics running_statistics = {};
  std::uint32_t format_version = 1;
  // The server's digest of all the above; 0 where others made the snapshot,
  // and then nothing is compared.
  std::uint64_t checksum = 0;
};

struct AcquireSessionArgs {
  std::string name = {};
  std::uint32_t rank = 0;
  // The last step that the caller, or the checkpoint it resumes from, has seen.
  std::uint64_t at_least_step = 0;
};

struct AcquireSessionResult {
  std::string writer_token = {};  // for every Forward and Backward
  std::uint64_t last_step = 0;
};

struct ImportSessionArgs {
  std::string name = {};
  SessionSnapshot snapshot = {};
  bool replace = false;  // whether a session of that name may exist
  // Of a writer, who stays the writer; all others are fenced. Empty: none.
  std::string writer_token = {};
};

struct ForwardArgs {
  std::string session = {};
  Mode mode = Mode::kTrain;
  // TRAIN: the step to take or to replay. 0 means the next one, and is then
  // not sent again after a lost reply. INFERENCE: 0.
  std::uint64_t step = 0;
  std::uint64_t acknowledged_step = 0;  // the last whose reply was seen
  std::uint32_t rank = 0;
  std::optional<double> new_weight = {};  // for this step only
  Tensor x = {};
  std::optional<Tensor> gamma = {};  // absent: ones
  std::optional<Tensor> beta = {};   // absent: zeros
  std::string writer_token = {};     // of AcquireSession; empty: not fenced
};

struct ForwardResult {
  std::uint64_t step = 0;                          // TRAIN
  bool replayed = false;                           // the step was taken before
  std::optional<BatchStatistics> statistics = {};  // TRAIN
  std::uint64_t statistics_step = 0;               // INFERENCE
  Tensor y = {};
};

struct BackwardArgs {
  std::string session = {};
  std::uint64_t step = 0;  // of the Forward that this belongs to
  std::uint64_t acknowledged_step = 0;
  std::uint32_t rank = 0;
  std::uint32_t pass = 0;  // in a group: which Backward of the step it is
  Tensor dy = {};
  // The step's own, for when the server no longer keeps them.
  std::optional<Tensor> x = {};
  std::optional<Tensor> gamma = {};
  std::string writer_token = {};  // as in ForwardArgs
};

struct BackwardResult {
  std::uint64_t step = 0;
  Tensor dx = {};
  std::vector<double> dgamma = {};
  std::vector<double> dbeta = {};
};

// What each rank of a group computes dx from; an element per channel.
struct GradientStatistics {
  std::vector<double> dgamma = {};
  std::vector<double> dbeta = {};
  std::vector<double> mean_dy = {};
  std::vector<double> mean_dy_lo = {};
  std::vector<double> k = {};
};

// A real number per channel: limbs[i] * 2^scales[i] added up, exactly. One limb
// is a plain sum; several carry more than a double holds.
struct Expansion {
  Tensor limbs = {};                      // F64 [1 to 64 limbs, channels]
  std::vector<std::int32_t> scales = {};  // one a limb; empty: zeros
};

// The sums of one rank's shard.
struct ForwardSums {
  std::int64_t count = 0;         // values a channel; 0 for an empty shard
  Expansion sum = {};             // sum(x)
  Expansion sum_of_squares = {};  // sum(x * x)
};

struct BackwardSums {
  Expansion sum_dy = {};    // sum(dy)
  Expansion sum_dy_x = {};  // sum(dy * x)
};

struct SyncArgs {
  std::string session = {};
  std::uint64_t step = 0;  // as in ForwardArgs and BackwardArgs, but not 0
  std::uint64_t acknowledged_step = 0;
  std::uint32_t rank = 0;
  std::uint32_t pass = 0;                 // BackwardSums
  std::optional<double> new_weight = {};  // ForwardSums
  std::variant<ForwardSums, BackwardSums> sums = {};
  std::string writer_token = {};  // as in ForwardArgs
};

struct SyncResult {
  std::uint64_t step = 0;
  bool replayed = false;              // the step was taken before
  BatchStatistics statistics = {};    // of the whole batch
  GradientStatistics gradients = {};  // of a Backward; else empty
};

// A result that Evaluate can return.
enum class Output : std::uint8_t {
  kY,
  kStatistics,
  kRunningStatistics,
  kDx,
  kDgamma,
  kDbeta
};

struct EvaluateArgs {
  Mode mode = Mode::kTrain;
  std::vector<Output> outputs = {};  // empty: all that the inputs allow
  Normalization normalization = {};
  // Before this batch. INFERENCE needs them.
  std::optional<RunningStatistics> running_statistics = {};
  Tensor x = {};
  std::optional<Tensor> gamma = {};  // absent: ones
  std::optional<Tensor> beta = {};   // absent: zeros
  std::optional<Tensor> dy = {};     // for the gradients
};

// Only what was asked for is present.
struct EvaluateResult {
  std::optional<Tensor> y = {};
  std::optional<BatchStatistics> statistics = {};
  std::optional<RunningStatistics> running_statistics = {};
  std::optional<Tensor> dx = {};
  std::optional<std::vector<double>> dgamma = {};
  std::optional<std::vector<double>> dbeta = {};
};

// The answer of the standard health service.
enum class Health : std::uint8_t {
  kUnknown,
  kServing,
  kNotServing,
  kServiceUnknown
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_TYPES_H_
