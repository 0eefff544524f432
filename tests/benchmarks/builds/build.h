// A build of the kernel that was loaded from a file.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_BUILDS_BUILD_H_
#define BATCHNORMD_TESTS_BENCHMARKS_BUILDS_BUILD_H_

#include <string>

#include "tests/benchmarks/builds/kernel_build.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

class Build {
 public:
  // Throws std::runtime_error if the file is no kernel_build.so.
  explicit Build(const std::string& file);

  Peer MakePeer(const BnProblem& problem) const;

 private:
  void* library_;  // never closed: its statics live on
  decltype(&BnMakeLayer) make_;
  decltype(&BnCall) call_;
  decltype(&BnFreeLayer) free_;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_BUILDS_BUILD_H_
