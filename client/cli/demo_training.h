// Trains a small classifier of handwritten digits whose batch-norm layers live
// in the service:
//
//   64 pixels - dense 64 - batch norm - ReLU - dense 32 - batch norm - ReLU -
//   dense 10 - softmax
//
// The same server, digits and options give the same losses bit for bit.
// Functions block; they may be called from any thread.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_TRAINING_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_TRAINING_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/demo_batch_norm.h"
#include "client/cli/demo_digits.h"
#include "client/cli/demo_gradient_check.h"
#include "client/client.h"

namespace batchnorm::cli {

struct TrainingOptions {
  // Sessions are PREFIX/bn1 and PREFIX/bn2, and new.
  std::string session_prefix = "demo";
  // Of the first weights and of the order of samples; the split between
  // training and held-out digits does not depend on it.
  std::uint64_t seed = 1;
  int epochs = 10;  // at least 1
};

struct EpochReport {
  int epoch = 0;        // from 1
  double loss = 0;      // mean over the epoch's samples, in nats
  double accuracy = 0;  // of the held-out digits, by the running statistics
};

struct TrainingReport {
  std::vector<EpochReport> epochs;
  std::vector<DemoLayerReport> layers;
  std::size_t trained_digits = 0;
  std::size_t held_out_digits = 0;
  // One real batch as the first layer saw it, for CheckGradients.
  GradientProbe probe;

  double accuracy() const { return epochs.back().accuracy; }  // at the end
};

// Told of what happens while it happens, on the calling thread.
struct TrainingObserver {
  // Before each batch; `batch` from 0.
  std::function<void(int epoch, std::size_t batch, std::size_t batches)>
      on_batch = [](int, std::size_t, std::size_t) {};
  std::function<void(const EpochReport&)> on_epoch = [](const EpochReport&) {};
  // Asked before each batch: whether to stop, with CANCELLED.
  std::function<bool()> is_cancelled = [] { return false; };
};

// The share of held-out digits that a trained classifier reads right, at least.
inline constexpr double kAccuracyBound = 0.97;

bool IsAccurate(const TrainingReport& report);

// The errors are the service's, INVALID_ARGUMENT for an empty data set or no
// epochs, and CANCELLED if the observer says so. Sessions are left behind,
// whatever the outcome.
absl::StatusOr<TrainingReport> Train(const client::Client& client,
                                     const Digits& digits,
                                     const TrainingOptions& options,
                                     const TrainingObserver& observer = {});

// Deletes the sessions that Train made under this prefix, as far as they exist.
absl::Status DeleteSessions(const client::Client& client,
                            const std::string& session_prefix);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_TRAINING_H_
