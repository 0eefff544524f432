// A run as one JSON document: report.py and plot.py read it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_REPORT_H_
#define BATCHNORMD_TESTS_BENCHMARKS_REPORT_H_

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "tests/benchmarks/machine.h"
#include "tests/benchmarks/results.h"

namespace batchnorm::benchmark {

struct Run {
  Machine machine;
  double load;  // before the run began
  bool is_quick;
  std::vector<int> threads;
  std::string onednn;   // its version
  std::string pytorch;  // its version; empty: it took no part
  std::vector<Result> results;
};

// {machine, load, quick, threads, onednn, pytorch,
//  results: [{name, sizes, layout, direction, bytes,
//             series: [{peer, threads, calls, seconds: [a round...]}],
//             ratios: [{threads, METRIC: value...}]}],
//  means: [{class, direction, threads, METRIC: value...}],
//  targets: [{name, value, bound, at_least, met}]}
nlohmann::ordered_json AsJson(const Run& run);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_REPORT_H_
