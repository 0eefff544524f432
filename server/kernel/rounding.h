// Correctly rounded doubles of exact expressions.
//
// Each result is the double nearest to the exact real number, ties to even,
// with gradual underflow, and an infinity from 2^1024 - 2^970 on. Bits are thus
// defined by mathematics alone: any other correct implementation gives them
// too. Thread-safe. REQUIRES throughout: round-to-nearest is not needed, but
// subnormals must not be flushed (floating_point_scope.h).
#ifndef BATCHNORMD_SERVER_KERNEL_ROUNDING_H_
#define BATCHNORMD_SERVER_KERNEL_ROUNDING_H_

#include "server/kernel/dyadic.h"

namespace batchnorm::kernel {

// a. A zero is +0.
double Round(const Dyadic& a);

// a / b. A zero is +0. REQUIRES: b is not zero.
double RoundQuotient(const Dyadic& a, const Dyadic& b);

// sqrt(a / b). REQUIRES: a >= 0, b > 0.
double RoundSqrtQuotient(const Dyadic& a, const Dyadic& b);

// floor(log2(sqrt(a / b))). REQUIRES: a > 0, b > 0.
int FloorLog2SqrtQuotient(const Dyadic& a, const Dyadic& b);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_ROUNDING_H_
