// The network of `bn demo`, from pixels to logits. Thread-compatible.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_CLASSIFIER_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_CLASSIFIER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/demo_batch_norm.h"
#include "client/cli/demo_digits.h"
#include "client/cli/demo_network.h"
#include "client/client.h"

namespace batchnorm::cli {

class Classifier {
 public:
  // Opens a session for each batch-norm layer; see SessionNames.
  static absl::StatusOr<Classifier> Open(const client::Client& client,
                                         const std::string& session_prefix,
                                         DemoRandom& random);

  // The sessions under a prefix, first layer first.
  static std::vector<std::string> SessionNames(const std::string& prefix);

  // One step of training. Returns the batch's mean loss before the step.
  absl::StatusOr<double> Train(const Digits& batch, double learning_rate);

  // Logits, by the running statistics.
  absl::StatusOr<Matrix> Infer(const Digits& batch);

  // What the first batch-norm layer gets for a batch.
  Matrix FirstInput(const Digits& batch) const;
  const DemoBatchNorm& first_batch_norm() const { return blocks_[0].norm; }

  absl::StatusOr<std::vector<DemoLayerReport>> Report() const;

 private:
  // Dense, batch norm, ReLU; and what the latest Train left for Backward.
  struct Block {
    Dense dense;
    DemoBatchNorm norm;
    Matrix input;
    Matrix normalized;
  };

  Classifier(std::vector<Block> blocks, Dense output);

  absl::StatusOr<Matrix> Forward(Matrix x);
  absl::Status Backward(const Matrix& input, const Matrix& dlogits);

  std::vector<Block> blocks_;
  Dense output_;
  Adam adam_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_CLASSIFIER_H_
