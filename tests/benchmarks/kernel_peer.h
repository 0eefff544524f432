// batchnormd's own kernel: what the others are compared with.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_KERNEL_PEER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_KERNEL_PEER_H_

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

inline constexpr char kExact[] = "batchnormd";
inline constexpr char kExactF16[] = "batchnormd f16";
inline constexpr char kExactBF16[] = "batchnormd bf16";
inline constexpr char kExactWide[] = "batchnormd wide";

// `inputs` are of contest.buffers.
Peer KernelPeer(const Contest& contest, const char* name, const Inputs& inputs);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_KERNEL_PEER_H_
