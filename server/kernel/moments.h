// The exact numbers of one channel, in the letters of README.md.
//
// Multiplied by powers of n, everything the formulas need is a sum of products
// of sums, so nothing is divided until the result is rounded. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_MOMENTS_H_
#define BATCHNORMD_SERVER_KERNEL_MOMENTS_H_

#include <cstdint>

#include "server/kernel/channel_sums.h"
#include "server/kernel/dyadic.h"

namespace batchnorm::kernel {

struct Moments {
  // REQUIRES: the channel's sums are finite.
  Moments(const ForwardSums& sums, std::int64_t channel);

  // n^2 (var + eps).
  Dyadic SquaredStd(double eps) const;

  Dyadic n;
  Dyadic n2;  // n^2
  Dyadic S;   // sum(x)
  Dyadic M;   // n*Q - S^2 = n^2 var, at least 0
};

// Whether the channel holds neither NaN nor Inf. (Then Q is finite too.)
bool IsFinite(const ForwardSums& sums, std::int64_t channel);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_MOMENTS_H_
