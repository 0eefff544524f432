#include "tests/benchmarks/plain_layer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace batchnorm::benchmark {
namespace {

Affine FinishForward(double n, std::size_t c, double sum, double squares,
                     PlainLayer& layer) {
  const double mean = sum / n;
  const double var = std::max(squares / n - mean * mean, 0.0);
  layer.mean[c] = mean;
  layer.inv_std[c] = 1 / std::sqrt(var + layer.eps);
  const double scale = layer.gamma[c] * layer.inv_std[c];
  return {scale, 0, layer.beta[c] - scale * mean};
}

Affine FinishBackward(double n, std::size_t c, double sum, double products,
                      PlainLayer& layer) {
  layer.dbeta[c] = sum;
  layer.dgamma[c] = layer.inv_std[c] * (products - layer.mean[c] * sum);
  const double scale = layer.gamma[c] * layer.inv_std[c];
  const double slope = -scale * layer.inv_std[c] * layer.dgamma[c] / n;
  return {scale, slope, -scale * sum / n - slope * layer.mean[c]};
}

}  // namespace

PlainLayer::PlainLayer(std::int64_t channels)
    : gamma(static_cast<std::size_t>(channels)),
      beta(gamma),
      mean(gamma),
      inv_std(gamma),
      dgamma(gamma),
      dbeta(gamma) {}

Affine FinishPlain(const PlainBatch& batch, std::int64_t channel, double sum,
                   double products, PlainLayer& layer) {
  const auto c = static_cast<std::size_t>(channel);
  return batch.is_forward
             ? FinishForward(batch.count(), c, sum, products, layer)
             : FinishBackward(batch.count(), c, sum, products, layer);
}

}  // namespace batchnorm::benchmark
