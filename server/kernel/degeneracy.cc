#include "server/kernel/batch_norm.h"
#include "server/kernel/moments.h"

namespace batchnorm::kernel {

std::optional<Degeneracy> FindDegeneracy(const ForwardSums& sums, double eps,
                                         int running_ddof) {
  using Kind = Degeneracy::Kind;
  for (std::int64_t c = 0; c < sums.channels(); ++c) {
    const bool has_few = sums.count(c) <= running_ddof;
    if (!has_few && eps != 0) continue;
    if (sums.count(c) == 0 || !IsFinite(sums, c)) continue;
    if (has_few) return Degeneracy{Kind::kTooFewValues, c};
    if (eps == 0 && Moments(sums, c).M.is_zero()) {
      return Degeneracy{Kind::kZeroVariance, c};
    }
  }
  return std::nullopt;
}

}  // namespace batchnorm::kernel
