// How finely an element type tells numbers apart. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_PRECISION_H_
#define BATCHNORMD_CLIENT_CLI_PRECISION_H_

#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// The nearest number that `dtype` has, ties to even; infinite beyond its range.
double Rounded(double value, Dtype dtype);

// One unit in the last place: the distance between neighbouring numbers of
// `dtype` at the magnitude of `value`; at least its smallest subnormal.
// REQUIRES: value is finite.
double Ulp(double value, Dtype dtype);

// Ulp(1.0, dtype).
double Epsilon(Dtype dtype);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_PRECISION_H_
