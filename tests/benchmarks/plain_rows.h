// The plain loops over NHWC and N x C: one linear pass sums all channels into
// accumulators in L1, a second one applies.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_ROWS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_ROWS_H_

#include "server/kernel/workers.h"
#include "tests/benchmarks/plain_layer.h"

namespace batchnorm::benchmark {

void PlainRows(const PlainBatch& batch, PlainLayer& layer,
               kernel::Workers& workers);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_ROWS_H_
