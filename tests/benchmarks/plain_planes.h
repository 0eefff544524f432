// The plain loops over NCHW: a group of channels is summed, finished and
// applied while it is in the cache.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PLANES_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PLANES_H_

#include "server/kernel/workers.h"
#include "tests/benchmarks/plain_layer.h"

namespace batchnorm::benchmark {

void PlainPlanes(const PlainBatch& batch, PlainLayer& layer,
                 kernel::Workers& workers);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PLANES_H_
