// What the kernel promises beside its peers, and whether a run kept it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_

#include <span>
#include <string>
#include <vector>

#include "tests/benchmarks/results.h"

namespace batchnorm::benchmark {

struct Target {
  std::string name;  // words joined by '-'
  double value;
  double bound;
  bool is_at_least;  // else at most

  bool met() const { return is_at_least ? value >= bound : value <= bound; }
};

// All targets that the results say something about.
std::vector<Target> Targets(std::span<const Result> results,
                            std::span<const int> threads);

// target NAME VALUE BOUND met, or missed.
std::string LineOf(const Target& target);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_TARGETS_H_
