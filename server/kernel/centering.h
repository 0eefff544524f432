// (x - mean) * 2^scale, the first step of both apply passes.
//
// The mean comes as two doubles, because x - mean cancels: with one, an offset
// of 2^20 standard deviations would cost 20 bits. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_CENTERING_H_
#define BATCHNORMD_SERVER_KERNEL_CENTERING_H_

#include <cmath>
#include <cstddef>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel {

struct Center {
  double mean;
  double mean_lo;  // times 2^scale
  int scale;

  double operator()(double x) const {
    if (scale == 0) [[likely]] {
      return (x - mean) - mean_lo;
    }
    return Scaled(x) - mean_lo;
  }

  // Scales down before subtracting, so that large differences do not overflow,
  // and up afterwards, when the difference is exact or nearly so.
  double Scaled(double x) const {
    return scale < 0 ? std::ldexp(x, scale) - std::ldexp(mean, scale)
                     : std::ldexp(x - mean, scale);
  }
};

inline Center CenterOf(const Statistics& statistics, std::size_t channel) {
  return {statistics.mean[channel], statistics.scaled_mean_lo[channel],
          statistics.scale[channel]};
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CENTERING_H_
