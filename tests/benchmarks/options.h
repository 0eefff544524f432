// What kernel_benchmark is told.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_OPTIONS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

namespace batchnorm::benchmark {

struct Options {
  bool is_quick = false;
  bool is_json = false;
  bool has_pytorch = true;
  std::string python;  // an interpreter that has PyTorch
  std::string only;    // a regular expression; empty: all
  std::vector<int> threads = {1, 2};
  int rounds = 0;  // 0: by size
};

// Fills in the options. A value means that the program is to end with it: 0
// after --help, 2 after a mistake, which standard error then explains.
std::optional<int> ParseOptions(int argc, char** argv, Options& options);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_OPTIONS_H_
