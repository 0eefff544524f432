// Fits gamma and beta of one batch-norm layer by gradient descent. The layer
// lives in a session of the server; the weights stay here.
//
//     example_train [localhost:50051]
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "client/client.h"

namespace {

using batchnorm::FloatsOf;
using batchnorm::MakeTensor;
using batchnorm::Tensor;
using batchnorm::client::Client;

constexpr int kSteps = 60;
constexpr double kLearningRate = 0.5;
constexpr std::int64_t kBatch = 64;

// Values around 5, three wide.
std::vector<float> NextBatch() {
  static std::mt19937 random(1);
  std::normal_distribution<float> normal(5, 3);
  std::vector<float> x(kBatch);
  for (float& value : x) value = normal(random);
  return x;
}

// The gradient of mean((y - target)^2) / 2. The target is reached by gamma 2
// and beta 1.
Tensor LossGradient(const std::vector<float>& x, const Tensor& y) {
  std::vector<float> dy(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float target = 2 * (x[i] - 5) / 3 + 1;
    dy[i] = (FloatsOf(y)[i] - target) / static_cast<float>(kBatch);
  }
  return MakeTensor(dy, {kBatch, 1});
}

absl::Status Train(const std::string& address) {
  std::vector<double> gamma = {1};
  std::vector<double> beta = {0};
  // [train]
  Client client({.target = address});
  auto layer = client.OpenLayer("examples/train", {.channels = 1});
  if (!layer.ok()) return layer.status();
  for (int i = 0; i < kSteps; ++i) {
    const std::vector<float> x = NextBatch();
    auto forward = layer->Forward({.x = MakeTensor(x, {kBatch, 1}),
                                   .gamma = MakeTensor(gamma, {1}),
                                   .beta = MakeTensor(beta, {1})});
    if (!forward.ok()) return forward.status();
    auto gradients = layer->Backward(
        {.step = forward->step, .dy = LossGradient(x, forward->y)});
    if (!gradients.ok()) return gradients.status();
    gamma[0] -= kLearningRate * gradients->dgamma[0];
    beta[0] -= kLearningRate * gradients->dbeta[0];
  }
  // [END train]
  std::cout << "gamma " << gamma[0] << " beta " << beta[0] << " after step "
            << layer->last_step() << '\n';
  return client.DeleteSession(layer->name());
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Train(argc > 1 ? argv[1] : "localhost:50051");
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
