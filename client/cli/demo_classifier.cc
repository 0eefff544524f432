#include "client/cli/demo_classifier.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace batchnorm::cli {
namespace {

constexpr std::array<std::size_t, 2> kWidths = {64, 32};

Matrix Pixels(const Digits& digits) {
  Matrix pixels(digits.size(), kDigitPixels);
  pixels.values = digits.pixels;
  return pixels;
}

void Append(std::vector<Parameter*> more, std::vector<Parameter*>& all) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

Classifier::Classifier(std::vector<Block> blocks, Dense output)
    : blocks_(std::move(blocks)), output_(std::move(output)) {}

std::vector<std::string> Classifier::SessionNames(const std::string& prefix) {
  std::vector<std::string> names;
  for (std::size_t i = 1; i <= kWidths.size(); ++i) {
    names.push_back(absl::StrCat(prefix, "/bn", i));
  }
  return names;
}

absl::StatusOr<Classifier> Classifier::Open(const client::Client& client,
                                            const std::string& session_prefix,
                                            DemoRandom& random) {
  const std::vector<std::string> names = SessionNames(session_prefix);
  std::vector<Block> blocks;
  std::size_t inputs = kDigitPixels;
  for (std::size_t i = 0; i < kWidths.size(); ++i) {
    auto norm = DemoBatchNorm::Open(client, names[i], kWidths[i]);
    if (!norm.ok()) return norm.status();
    blocks.push_back({Dense(inputs, kWidths[i], Bias::kNone, random),
                      *std::move(norm), Matrix(), Matrix()});
    inputs = kWidths[i];
  }
  return Classifier(std::move(blocks),
                    Dense(inputs, kDigitClasses, Bias::kTrained, random));
}

absl::StatusOr<double> Classifier::Train(const Digits& batch,
                                         double learning_rate) {
  const auto features = Forward(Pixels(batch));
  if (!features.ok()) return features.status();
  const Loss loss =
      SoftmaxCrossEntropy(output_.Forward(*features), batch.labels);
  absl::Status gradients = Backward(*features, loss.gradient);
  if (!gradients.ok()) return gradients;
  std::vector<Parameter*> parameters = output_.parameters();
  for (Block& block : blocks_) {
    Append(block.dense.parameters(), parameters);
    Append(block.norm.parameters(), parameters);
  }
  adam_.Step(learning_rate, parameters);
  return loss.mean;
}

absl::StatusOr<Matrix> Classifier::Forward(Matrix x) {
  for (Block& block : blocks_) {
    block.input = std::move(x);
    auto y = block.norm.Forward(block.dense.Forward(block.input));
    if (!y.ok()) return y;
    block.normalized = *std::move(y);
    x = Relu(block.normalized);
  }
  return x;
}

absl::Status Classifier::Backward(const Matrix& features,
                                  const Matrix& dlogits) {
  Matrix dy = output_.Backward(features, dlogits);
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    const auto dx =
        block->norm.Backward(ReluBackward(block->normalized, std::move(dy)));
    if (!dx.ok()) return dx.status();
    dy = block->dense.Backward(block->input, *dx);
  }
  return absl::OkStatus();
}

absl::StatusOr<Matrix> Classifier::Infer(const Digits& batch) {
  Matrix x = Pixels(batch);
  for (Block& block : blocks_) {
    auto y = block.norm.Infer(block.dense.Forward(x));
    if (!y.ok()) return y;
    x = Relu(*std::move(y));
  }
  return output_.Forward(x);
}

Matrix Classifier::FirstInput(const Digits& batch) const {
  return blocks_[0].dense.Forward(Pixels(batch));
}

absl::StatusOr<std::vector<DemoLayerReport>> Classifier::Report() const {
  std::vector<DemoLayerReport> reports;
  for (const Block& block : blocks_) {
    auto report = block.norm.Report();
    if (!report.ok()) return report.status();
    reports.push_back(*std::move(report));
  }
  return reports;
}

}  // namespace batchnorm::cli
