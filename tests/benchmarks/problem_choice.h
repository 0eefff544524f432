// Which problems a run measures.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PROBLEM_CHOICE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PROBLEM_CHOICE_H_

#include <vector>

#include "tests/benchmarks/options.h"
#include "tests/benchmarks/shapes.h"

namespace batchnorm::benchmark {

// All of tests/data/bnorm_shapes.csv, or the representative ones of --quick, as
// far as --only matches. Throws std::invalid_argument if there are none.
std::vector<Problem> ChooseProblems(const Options& options);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PROBLEM_CHOICE_H_
