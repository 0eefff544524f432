// All peers of a problem.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_CONTESTANTS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_CONTESTANTS_H_

#include <memory>
#include <vector>

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"
#include "tests/benchmarks/pytorch_peer.h"

namespace batchnorm::benchmark {

// The PyTorches that take part; none is fine.
using PyTorches = std::vector<std::unique_ptr<PyTorch>>;

// Whether batchnormd is also measured with other formats and with data that
// defeats the certificate.
bool HasVariants(const Problem& problem);

// Those with the contest's number of threads. Throws std::runtime_error if the
// results of some differ.
std::vector<Peer> PeersOf(const Contest& contest, const PyTorches& pytorches);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_CONTESTANTS_H_
