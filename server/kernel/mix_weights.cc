#include "server/kernel/mix_weights.h"

#include <cmath>

namespace batchnorm::kernel {
namespace {

// a / b = result + lo. The remainder of a nearest quotient is a double.
double Divide(double a, double b, double& lo) {
  const double quotient = a / b;
  lo = std::fma(-quotient, b, a) / b;
  return quotient;
}

// 1 - w = result + lo, exactly (Knuth).
double OneMinus(double w, double& lo) {
  const double kept = 1 - w;
  const double w_in_kept = kept - 1;
  lo = (1 - (kept - w_in_kept)) - (w + w_in_kept);
  return kept;
}

}  // namespace

MixWeights MixWeights::Of(const RunningUpdate& update,
                          std::int64_t batch_count) {
  MixWeights weights = {};
  if (update.new_weight) {
    weights.batch = *update.new_weight;
    weights.kept = OneMinus(weights.batch, weights.kept_lo);
  } else {
    const auto count = static_cast<double>(batch_count);
    weights.batch = Divide(1, count, weights.batch_lo);
    weights.kept = Divide(count - 1, count, weights.kept_lo);
  }
  return weights;
}

bool MixWeights::IsInRange() const {
  const double magnitude = std::abs(batch);
  return magnitude == 0 || (0x1p-256 <= magnitude && magnitude <= 0x1p256);
}

}  // namespace batchnorm::kernel
