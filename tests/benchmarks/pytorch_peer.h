// PyTorch as a peer, in a process of its own (pytorch_peer.py) that is asked in
// its turn and idle otherwise.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PYTORCH_PEER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PYTORCH_PEER_H_

#include <string>

#include "tests/benchmarks/child_process.h"
#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

inline constexpr char kPyTorch[] = "PyTorch";
inline constexpr char kPyTorchReused[] = "PyTorch reused";

// PyTorch allocates its output in each call. As installed, malloc maps large
// outputs and unmaps them again, and their page faults are most of the time;
// kReused keeps the memory, by malloc's variables.
enum class Heap : std::uint8_t { kAsInstalled, kReused };

class PyTorch {
 public:
  // Starts the script with that Python, which has PyTorch.
  PyTorch(const std::string& python, Heap heap);

  // Waits until PyTorch is there: "2.15.0 (AVX512)".
  std::string Version();

  // REQUIRES: Version() was called.
  Peer MakePeer(const Contest& contest);

 private:
  double Sample(const Problem& problem, int threads, int calls);

  Heap heap_;
  ChildProcess process_;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PYTORCH_PEER_H_
