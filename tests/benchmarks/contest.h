// What every peer of one problem is given.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_CONTEST_H_
#define BATCHNORMD_TESTS_BENCHMARKS_CONTEST_H_

#include "server/kernel/workers.h"
#include "tests/benchmarks/buffers.h"
#include "tests/benchmarks/shapes.h"

namespace batchnorm::benchmark {

// Peers keep references to what this names, and a copy of this.
struct Contest {
  const Problem& problem;
  const Buffers& buffers;
  const Parameters& parameters;
  kernel::Workers& workers;

  bool is_forward() const { return problem.direction == Direction::kForward; }
  int threads() const { return workers.threads(); }
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_CONTEST_H_
