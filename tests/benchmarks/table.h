// The results for people.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_TABLE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_TABLE_H_

#include <span>
#include <string>

#include "tests/benchmarks/results.h"

namespace batchnorm::benchmark {

// For each direction and number of threads: a row a problem, a row a class.
std::string TablesOf(std::span<const Result> results,
                     std::span<const int> threads);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_TABLE_H_
