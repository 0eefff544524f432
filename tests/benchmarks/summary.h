// Geometric means, and the worst, over a class of problems.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SUMMARY_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SUMMARY_H_

#include <span>
#include <vector>

#include "tests/benchmarks/classes.h"
#include "tests/benchmarks/results.h"

namespace batchnorm::benchmark {

// One cell of the table of means.
struct Selection {
  Metric metric;
  const Class& problems;
  Direction direction;
  int threads;
};

// The values of the selected problems that were measured.
std::vector<double> Values(std::span<const Result> results,
                           const Selection& selection);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SUMMARY_H_
