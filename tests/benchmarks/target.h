// One promise about a ratio, and whether a run kept it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_TARGET_H_
#define BATCHNORMD_TESTS_BENCHMARKS_TARGET_H_

#include <string>

namespace batchnorm::benchmark {

struct Target {
  std::string name;  // words joined by '-'
  double value;
  double bound;
  bool is_at_least;  // else at most

  bool met() const { return is_at_least ? value >= bound : value <= bound; }
};

// target NAME VALUE BOUND met, or missed.
std::string LineOf(const Target& target);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_TARGET_H_
