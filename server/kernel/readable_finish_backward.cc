#include <cassert>
#include <cmath>
#include <cstddef>
#include <limits>

#include "server/kernel/batch_norm.h"
#include "server/kernel/finish.h"
#include "server/kernel/float_formats.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/inverse_std.h"
#include "server/kernel/moments.h"
#include "server/kernel/readable_finish.h"
#include "server/kernel/rounding.h"

namespace batchnorm::kernel {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// One channel of Gradients.
struct ChannelGradients {
  double dgamma = kNan;
  double dbeta = kNan;
  double mean_dy = kNan;
  double mean_dy_lo = 0;
  double k = kNan;
};

void Set(const ChannelGradients& channel, std::size_t i, Gradients& gradients) {
  gradients.dgamma[i] = channel.dgamma;
  gradients.dbeta[i] = channel.dbeta;
  gradients.mean_dy[i] = channel.mean_dy;
  gradients.mean_dy_lo[i] = channel.mean_dy_lo;
  gradients.k[i] = channel.k;
}

// numerator / sqrt(v), rounded once. REQUIRES: v > 0.
double RoundOverRoot(const Dyadic& numerator, const Dyadic& v) {
  const double magnitude = RoundSqrtQuotient(numerator * numerator, v);
  return numerator.is_negative() ? -magnitude : magnitude;
}

// Eq. 11 over `ranks`, and 12. N = n*P - S*D is n^2 times the covariance of dy
// and x.
void FinishSlopes(const Dyadic& N, const Moments& m, double eps,
                  Degenerate degenerate, const Dyadic& ranks,
                  ChannelGradients& result) {
  const Dyadic V = m.SquaredStd(eps);
  if (V.is_zero()) {
    // x_hat is 0 by kUnitCorrection, and 0 * Inf otherwise.
    result.dgamma = result.k =
        degenerate == Degenerate::kUnitCorrection ? 0.0 : kNan;
    return;
  }
  const int scale = InverseStdScale(m.n2, V);
  result.dgamma = RoundOverRoot(N, ranks * ranks * V);
  result.k = RoundQuotient(N * Dyadic::PowerOfTwo(-scale), V);
}

// Eq. 9 over `ranks`, and 10, whatever x is.
ChannelGradients FinishMeans(const ExactSum& dy, std::int64_t count,
                             const Dyadic& ranks) {
  ChannelGradients result;
  if (!dy.is_finite()) {
    result.dbeta = result.mean_dy = dy.ToDouble();
    return result;
  }
  const Dyadic n = Dyadic::FromInteger(count);
  const Dyadic D = dy.Value();
  result.dbeta = RoundQuotient(D, ranks);
  result.mean_dy = RoundQuotient(D, n);
  result.mean_dy_lo =
      RoundQuotient(D - n * Dyadic::FromDouble(result.mean_dy), n);
  return result;
}

ChannelGradients FinishChannel(const ForwardSums& forward,
                               const BackwardSums& backward, std::int64_t c,
                               double eps, Degenerate degenerate,
                               std::int64_t over_ranks = 1) {
  // The gradients of an empty batch are empty sums, and nothing reads the rest.
  if (forward.count(c) == 0) return {0, 0, 0, 0, 0};
  const Dyadic ranks = Dyadic::FromInteger(over_ranks);
  ChannelGradients result =
      FinishMeans(backward.sum_dy(c), forward.count(c), ranks);
  const ChannelTotals& totals = backward.totals(c);
  if (!IsFinite(forward, c) || !totals.is_finite()) return result;
  const Moments m(forward, c);
  const Dyadic N = m.n * totals.ProductsValue() - m.S * totals.SumValue();
  FinishSlopes(N, m, eps, degenerate, ranks, result);
  return result;
}

// Eq. 14, in IEEE arithmetic where something is infinite, NaN or degenerate.
double InferenceDgamma(const ExactSum& dy, const ExactSum& dy_x, double mean,
                       double var, double eps, Degenerate degenerate) {
  const double inv_std = RunningInverseStd(var, eps, degenerate).value;
  if (!dy.is_finite() || !dy_x.is_finite() || !std::isfinite(mean)) {
    return Canonical((dy_x.ToDouble() - mean * dy.ToDouble()) * inv_std);
  }
  const Dyadic N = dy_x.Value() - Dyadic::FromDouble(mean) * dy.Value();
  if (!std::isnormal(inv_std)) return Canonical(Round(N) * inv_std);
  return RoundOverRoot(N, Dyadic::FromDouble(var) + Dyadic::FromDouble(eps));
}

}  // namespace

namespace readable {

void FinishBackward(const ForwardSums& forward, const BackwardSums& backward,
                    double eps, Degenerate degenerate, std::size_t channel,
                    Gradients& gradients) {
  Set(FinishChannel(forward, backward, static_cast<std::int64_t>(channel), eps,
                    degenerate),
      channel, gradients);
}

void AverageOverRanks(const ForwardSums& forward, const BackwardSums& backward,
                      double eps, Degenerate degenerate, std::int64_t ranks,
                      std::size_t channel, double& dgamma, double& dbeta) {
  const ChannelGradients averages =
      FinishChannel(forward, backward, static_cast<std::int64_t>(channel), eps,
                    degenerate, ranks);
  dgamma = averages.dgamma;
  dbeta = averages.dbeta;
}

}  // namespace readable

Gradients FinishInferenceBackward(const BackwardSums& backward,
                                  const Statistics& running, double eps,
                                  Degenerate degenerate) {
  const FloatingPointScope scope;
  const auto channels = static_cast<std::size_t>(backward.channels());
  assert(running.mean.size() == channels);
  Gradients gradients = GradientsRoom(channels);
  for (std::size_t i = 0; i < channels; ++i) {
    const auto c = static_cast<std::int64_t>(i);
    const ExactSum& dy = backward.sum_dy(c);
    const double dgamma =
        InferenceDgamma(dy, backward.sum_dy_x(c), running.mean[i],
                        running.var[i], eps, degenerate);
    Set({dgamma, dy.ToDouble(), 0, 0, 0}, i, gradients);
  }
  return gradients;
}

}  // namespace batchnorm::kernel
