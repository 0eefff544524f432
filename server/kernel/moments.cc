#include "server/kernel/moments.h"

#include <cassert>

namespace batchnorm::kernel {

Moments::Moments(const ForwardSums& sums, std::int64_t channel)
    : n(Dyadic::FromInteger(sums.count(channel))),
      n2(n * n),
      S(sums.totals(channel).SumValue()),
      M(n * sums.totals(channel).ProductsValue() - S * S) {
  assert(!M.is_negative());
}

Dyadic Moments::SquaredStd(double eps) const {
  return M + n2 * Dyadic::FromDouble(eps);
}

bool IsFinite(const ForwardSums& sums, std::int64_t channel) {
  return sums.totals(channel).is_finite();
}

}  // namespace batchnorm::kernel
