// Rounded quotients and roots of the leading bits of exact numbers, where these
// leave no doubt about the rounding of the numbers themselves.
//
// 64 bits of a quotient are eleven more than a double has. So all but one in
// some hundred results are told from integer division alone; ties, and what is
// near one or near the ends of the range, are left to rounding.h, which
// compares exactly. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_QUICK_ROUNDING_H_
#define BATCHNORMD_SERVER_KERNEL_QUICK_ROUNDING_H_

#include <optional>

#include "server/kernel/dyadic.h"

namespace batchnorm::kernel {

// The double nearest to |a / b|, or nothing. REQUIRES: neither is zero.
std::optional<double> QuickQuotient(const Dyadic& a, const Dyadic& b);

// The double nearest to sqrt(|a / b|), or nothing. REQUIRES: neither is zero.
std::optional<double> QuickSqrtQuotient(const Dyadic& a, const Dyadic& b);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_QUICK_ROUNDING_H_
