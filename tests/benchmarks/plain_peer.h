// The plain loops as a peer.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PEER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PEER_H_

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

inline constexpr char kPlain[] = "plain f64";

Peer PlainPeer(const Contest& contest);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_PEER_H_
