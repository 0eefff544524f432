// What a benchmark's main ends with.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_EXIT_CODE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_EXIT_CODE_H_

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <stdexcept>

namespace batchnorm::benchmark {

// Calls work(): 0, or 1 where it throws, 2 where that is an invalid_argument, a
// mistake in the flags. Standard error says why.
template <typename Work>
int ExitCodeOf(const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return dynamic_cast<const std::invalid_argument*>(&error) != nullptr ? 2
                                                                         : 1;
  }
  return 0;
}

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_EXIT_CODE_H_
