#include "client/cli/demo_training.h"

#include <algorithm>
#include <utility>

#include "client/cli/demo_classifier.h"

namespace batchnorm::cli {
namespace {

constexpr std::size_t kBatch = 64;
constexpr double kLearningRate = 0.01;  // falls to 0 in a straight line
constexpr std::uint64_t kSplitSeed = 1998;

std::size_t BatchesOf(const Digits& digits) {
  return (digits.size() + kBatch - 1) / kBatch;
}

class Trainer {
 public:
  Trainer(Classifier classifier, DigitsSplit digits, TrainingOptions options,
          DemoRandom random, const TrainingObserver& observer)
      : classifier_(std::move(classifier)),
        digits_(std::move(digits)),
        options_(std::move(options)),
        random_(random),
        observer_(observer) {}

  absl::StatusOr<TrainingReport> Run() {
    TrainingReport report;
    for (int epoch = 1; epoch <= options_.epochs; ++epoch) {
      const auto result = RunEpoch(epoch);
      if (!result.ok()) return result.status();
      report.epochs.push_back(*result);
      observer_.on_epoch(*result);
    }
    auto layers = classifier_.Report();
    if (!layers.ok()) return layers.status();
    report.layers = *std::move(layers);
    report.trained_digits = digits_.train.size();
    report.held_out_digits = digits_.held_out.size();
    report.probe = Probe();
    return report;
  }

 private:
  absl::StatusOr<EpochReport> RunEpoch(int epoch) {
    const auto order = random_.Permutation(digits_.train.size());
    const std::size_t batches = BatchesOf(digits_.train);
    double loss = 0;
    for (std::size_t b = 0; b < batches; ++b) {
      if (observer_.is_cancelled()) return absl::CancelledError("interrupted");
      observer_.on_batch(epoch, b, batches);
      const std::size_t end = std::min((b + 1) * kBatch, order.size());
      const Digits batch = Select(digits_.train, order, b * kBatch, end);
      const auto mean = classifier_.Train(batch, LearningRate());
      if (!mean.ok()) return mean.status();
      loss += *mean * static_cast<double>(batch.size());
      ++steps_;
    }
    const auto accuracy = HeldOutAccuracy();
    if (!accuracy.ok()) return accuracy.status();
    loss /= static_cast<double>(order.size());
    return EpochReport{.epoch = epoch, .loss = loss, .accuracy = *accuracy};
  }

  double LearningRate() const {
    const std::size_t steps =
        BatchesOf(digits_.train) * static_cast<std::size_t>(options_.epochs);
    return kLearningRate *
           (1 - static_cast<double>(steps_) / static_cast<double>(steps));
  }

  absl::StatusOr<double> HeldOutAccuracy() {
    const auto logits = classifier_.Infer(digits_.held_out);
    if (!logits.ok()) return logits.status();
    return static_cast<double>(CountCorrect(*logits, digits_.held_out.labels)) /
           static_cast<double>(digits_.held_out.size());
  }

  GradientProbe Probe() {
    const auto order = random_.Permutation(digits_.train.size());
    const Matrix x = classifier_.FirstInput(
        Select(digits_.train, order, 0, std::min(kBatch, order.size())));
    const auto& gamma = classifier_.first_batch_norm().gamma();
    const auto& beta = classifier_.first_batch_norm().beta();
    GradientProbe probe{.rows = x.rows,
                        .channels = x.columns,
                        .x = {x.values.begin(), x.values.end()},
                        .weights = std::vector<double>(x.values.size()),
                        .gamma = {gamma.begin(), gamma.end()},
                        .beta = {beta.begin(), beta.end()}};
    for (double& weight : probe.weights) weight = random_.Symmetric();
    return probe;
  }

  Classifier classifier_;
  DigitsSplit digits_;
  TrainingOptions options_;
  DemoRandom random_;
  const TrainingObserver& observer_;
  std::size_t steps_ = 0;
};

}  // namespace

bool IsAccurate(const TrainingReport& report) {
  return report.accuracy() >= kAccuracyBound;
}

absl::StatusOr<TrainingReport> Train(const client::Client& client,
                                     const Digits& digits,
                                     const TrainingOptions& options,
                                     const TrainingObserver& observer) {
  DigitsSplit split = SplitDigits(digits, kSplitSeed);
  if (options.epochs < 1) {
    return absl::InvalidArgumentError("expected at least one epoch");
  }
  if (split.held_out.size() == 0) {
    return absl::InvalidArgumentError("expected at least five digits");
  }
  DemoRandom random(options.seed);
  auto classifier = Classifier::Open(client, options.session_prefix, random);
  if (!classifier.ok()) return classifier.status();
  return Trainer(*std::move(classifier), std::move(split), options, random,
                 observer)
      .Run();
}

absl::Status DeleteSessions(const client::Client& client,
                            const std::string& session_prefix) {
  absl::Status status;
  for (const auto& name : Classifier::SessionNames(session_prefix)) {
    const absl::Status deleted = client.DeleteSession(name);
    if (!absl::IsNotFound(deleted)) status.Update(deleted);
  }
  return status;
}

}  // namespace batchnorm::cli
