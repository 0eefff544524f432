#include "tests/benchmarks/builds/kernel_build.h"

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "server/kernel/train.h"

namespace kernel = batchnorm::kernel;

struct BnLayer {
  explicit BnLayer(const BnProblem& of)
      : problem(of),
        layout(std::array{of.before, of.channels, of.after}, std::array{1}),
        workers(of.threads) {}

  kernel::Dtype dtype() const {
    return static_cast<kernel::Dtype>(problem.dtype);
  }
  std::size_t bytes() const {
    return static_cast<std::size_t>(layout.size()) * kernel::SizeOf(dtype());
  }
  kernel::TensorView Input(const void* values) const {
    return {dtype(), {static_cast<const std::byte*>(values), bytes()}};
  }
  kernel::MutableTensorView Output() const {
    return {dtype(), {static_cast<std::byte*>(problem.out), bytes()}};
  }
  std::span<const double> Parameter(const double* values) const {
    return {values, static_cast<std::size_t>(problem.channels)};
  }

  kernel::TrainBatch Forward() {
    return kernel::TrainForward(
        layout, Input(problem.x), kEps, kernel::Degenerate::kIeee,
        Parameter(problem.gamma), Parameter(problem.beta), Output(), workers);
  }
  void Backward() {
    kernel::TrainBackward(layout, Input(problem.x), Input(problem.dy), batch,
                          kEps, kernel::Degenerate::kIeee,
                          Parameter(problem.gamma), Output(), workers);
  }

  static constexpr double kEps = 1e-5;

  BnProblem problem;
  kernel::ChannelLayout layout;
  kernel::Workers workers;
  kernel::TrainBatch batch = Forward();
};

BnLayer* BnMakeLayer(const BnProblem* problem) {
  return std::make_unique<BnLayer>(*problem).release();
}

void BnCall(BnLayer* layer) {
  if (layer->problem.is_forward) {
    layer->Forward();
  } else {
    layer->Backward();
  }
}

void BnFreeLayer(BnLayer* layer) {
  const std::unique_ptr<BnLayer> owned(layer);
}
