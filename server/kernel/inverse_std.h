// 1/sqrt(var + eps), and the power of two that keeps x_hat in range.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_INVERSE_STD_H_
#define BATCHNORMD_SERVER_KERNEL_INVERSE_STD_H_

#include "server/kernel/batch_norm.h"
#include "server/kernel/dyadic.h"

namespace batchnorm::kernel {

struct InverseStd {
  double value;   // nearest; may underflow or overflow
  double scaled;  // value * 2^-scale, nearest
  int scale;
};

// sqrt(a / b), where b/a = var + eps. At b = 0 it is +Inf, or 0 with
// kUnitCorrection, which makes x_hat 0; below, it is NaN. REQUIRES: a > 0.
InverseStd RoundInverseStd(const Dyadic& a, const Dyadic& b,
                           Degenerate degenerate);

// The scale of RoundInverseStd(a, b, ...). REQUIRES: a > 0.
int InverseStdScale(const Dyadic& a, const Dyadic& b);

// 1/sqrt(var + eps) for any double var: infinite and NaN as IEEE has it.
InverseStd RunningInverseStd(double var, double eps, Degenerate degenerate);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_INVERSE_STD_H_
