#include "tests/benchmarks/summary.h"

#include <optional>

namespace batchnorm::benchmark {

std::vector<double> Values(std::span<const Result> results,
                           const Selection& selection) {
  std::vector<double> values;
  for (const Result& result : results) {
    const bool is_selected = result.problem.direction == selection.direction &&
                             selection.problems.contains(result.problem);
    if (!is_selected) continue;
    const std::optional<double> value =
        ValueOf(selection.metric, result, selection.threads);
    if (value) values.push_back(*value);
  }
  return values;
}

}  // namespace batchnorm::benchmark
