// The machine that a result belongs to.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_MACHINE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_MACHINE_H_

#include <string>
#include <vector>

namespace batchnorm::benchmark {

struct Machine {
  std::string processor;            // its name, family, model and stepping
  int cores;                        // that this process may use
  std::vector<std::string> caches;  // "L1d 48K", of the first core
  bool is_virtual;
};

Machine ThisMachine();

// What else runs here, as processes at work: the average of the last minute.
double CurrentLoad();

// One line.
std::string Describe(const Machine& machine);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_MACHINE_H_
