// Steps of sessions that are stored one by one, beside SQLite alone writing the
// same rows in the same transactions.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_STORE_COMMIT_CONTEST_H_
#define BATCHNORMD_TESTS_BENCHMARKS_STORE_COMMIT_CONTEST_H_

#include <cstdint>
#include <string>

namespace batchnorm::benchmark {

struct CommitContest {
  int sessions;  // each with a thread that waits for each step
  int steps;     // of each
  std::int64_t channels;
};

struct CommitRound {
  double ours = 0;    // seconds
  double sqlite = 0;  // seconds
  std::int64_t steps = 0;
  std::int64_t transactions = 0;
};

// One after the other, each in a new file below `folder`.
CommitRound RunRound(const CommitContest& contest, const std::string& folder);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_STORE_COMMIT_CONTEST_H_
