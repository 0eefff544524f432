#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "server/kernel/batch_norm.h"
#include "server/kernel/float_formats.h"
#include "server/kernel/moments.h"
#include "server/kernel/readable_finish.h"
#include "server/kernel/rounding.h"

namespace batchnorm::kernel {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The weight of the new batch as an exact fraction, and as a double.
struct Weight {
  Dyadic p;
  Dyadic q;
  double nearest;
};

Weight WeightOf(const RunningUpdate& update, std::int64_t batch_count) {
  if (update.new_weight) {
    return {Dyadic::FromDouble(*update.new_weight), Dyadic::PowerOfTwo(0),
            *update.new_weight};
  }
  return {Dyadic::PowerOfTwo(0), Dyadic::FromInteger(batch_count),
          1.0 / static_cast<double>(batch_count)};
}

// Eq. 15: (1 - p/q) * old + (p/q) * (a/b), rounded once.
double Mix(const Weight& w, double old, const Dyadic& a, const Dyadic& b) {
  const Dyadic kept = (w.q - w.p) * Dyadic::FromDouble(old) * b;
  return RoundQuotient(kept + w.p * a, w.q * b);
}

// The same where the old or the new value is infinite or NaN.
double MixNonFinite(const Weight& w, double old, double batch) {
  return Canonical((1.0 - w.nearest) * old + w.nearest * batch);
}

// Eq. 16.
double NewMean(const ForwardSums& sums, std::int64_t c, const Weight& w,
               double old) {
  const ExactSum& sum = sums.sum(c);
  if (!sum.is_finite()) return MixNonFinite(w, old, sum.ToDouble());
  const Dyadic n = Dyadic::FromInteger(sums.count(c));
  if (std::isfinite(old)) return Mix(w, old, sum.Value(), n);
  return MixNonFinite(w, old, RoundQuotient(sum.Value(), n));
}

// Eq. 17. The batch's variance is M / (n * (n - ddof)).
double NewVar(const ForwardSums& sums, std::int64_t c, const Weight& w,
              std::int64_t freedom, double old) {
  if (!IsFinite(sums, c) || freedom <= 0) return MixNonFinite(w, old, kNan);
  const Moments m(sums, c);
  const Dyadic divisor = m.n * Dyadic::FromInteger(freedom);
  if (std::isfinite(old)) return Mix(w, old, m.M, divisor);
  return MixNonFinite(w, old, RoundQuotient(m.M, divisor));
}

std::int64_t DegreesOfFreedom(std::int64_t count, int ddof,
                              Degenerate degenerate) {
  const std::int64_t freedom = count - ddof;
  return degenerate == Degenerate::kUnitCorrection
             ? std::max<std::int64_t>(freedom, 1)
             : freedom;
}

}  // namespace

namespace readable {

void UpdateRunning(const ForwardSums& sums, const RunningUpdate& update,
                   Degenerate degenerate, std::int64_t batch_count,
                   std::size_t channel, double& mean, double& var) {
  const auto c = static_cast<std::int64_t>(channel);
  const Weight weight = WeightOf(update, batch_count);
  const std::int64_t freedom =
      DegreesOfFreedom(sums.count(c), update.running_ddof, degenerate);
  mean = NewMean(sums, c, weight, mean);
  var = NewVar(sums, c, weight, freedom, var);
}

}  // namespace readable
}  // namespace batchnorm::kernel
