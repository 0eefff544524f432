// One batch-norm layer of `bn demo`: its statistics live in a session of the
// service, its gamma and beta here, with the optimizer. Thread-compatible.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_BATCH_NORM_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_BATCH_NORM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/demo_network.h"
#include "client/client.h"

namespace batchnorm::cli {

// How often a layer was called.
struct CallCounts {
  std::int64_t forwards = 0;    // in training
  std::int64_t inferences = 0;  // with running statistics
  std::int64_t backwards = 0;
  std::int64_t replays = 0;  // steps answered again after a lost reply

  bool operator==(const CallCounts&) const = default;
};

// A layer at the end of training, as the service describes it.
struct DemoLayerReport {
  std::string name;
  CallCounts sent;      // calls that succeeded here
  CallCounts received;  // the session's own counters
  client::RunningStatistics running;
};

class DemoBatchNorm {
 public:
  // A session of this name on the client's server; gamma 1, beta 0.
  static absl::StatusOr<DemoBatchNorm> Open(const client::Client& client,
                                            const std::string& name,
                                            std::size_t channels);

  // Normalizes by the batch's own statistics and takes a step.
  absl::StatusOr<Matrix> Forward(const Matrix& x);
  // Of the latest Forward: sets the gradients of gamma and beta; returns dx.
  absl::StatusOr<Matrix> Backward(const Matrix& dy);
  // Normalizes by the running statistics.
  absl::StatusOr<Matrix> Infer(const Matrix& x);

  absl::StatusOr<DemoLayerReport> Report() const;

  const std::string& name() const { return layer_.name(); }
  const std::vector<float>& gamma() const { return gamma_.value; }
  const std::vector<float>& beta() const { return beta_.value; }
  std::vector<Parameter*> parameters() { return {&gamma_, &beta_}; }

 private:
  DemoBatchNorm(client::Layer layer, std::size_t channels);

  client::LayerInput Input(const Matrix& x) const;

  client::Layer layer_;
  Parameter gamma_;
  Parameter beta_;
  CallCounts sent_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_BATCH_NORM_H_
