// What the kernel promises beside its peers, and whether a run kept it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_

#include <span>
#include <vector>

#include "tests/benchmarks/results.h"
#include "tests/benchmarks/target.h"

namespace batchnorm::benchmark {

// All targets that the results say something about.
std::vector<Target> Targets(std::span<const Result> results,
                            std::span<const int> threads);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_
