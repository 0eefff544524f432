// The averages that INFERENCE normalizes with: batchnorm.v1.RunningStatistics.
#ifndef BATCHNORMD_SERVER_SESSION_RUNNING_STATISTICS_H_
#define BATCHNORMD_SERVER_SESSION_RUNNING_STATISTICS_H_

#include <cstdint>
#include <vector>

namespace batchnorm::session {

struct RunningStatistics {
  std::vector<double> mean;
  std::vector<double> var;
  std::int64_t batch_count = 0;
};

// Mean 0 and var 1 of no batches.
inline RunningStatistics InitialStatistics(std::int64_t channels) {
  const auto n = static_cast<std::size_t>(channels);
  return {.mean = std::vector<double>(n, 0.0),
          .var = std::vector<double>(n, 1.0)};
}

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_RUNNING_STATISTICS_H_
