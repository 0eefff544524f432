// What compare_builds is told.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_BUILDS_COMPARE_OPTIONS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_BUILDS_COMPARE_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "tests/benchmarks/options.h"

namespace batchnorm::benchmark {

struct CompareOptions {
  std::string before;  // files: two builds of the kernel
  std::string after;
  std::vector<std::string> kinds = {"f32"};
  Options problems;  // which, threads, rounds, format
};

// As ParseOptions.
std::optional<int> ParseCompareOptions(int argc, char** argv,
                                       CompareOptions& options);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_BUILDS_COMPARE_OPTIONS_H_
