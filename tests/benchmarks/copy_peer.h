// The memory itself as a peer: the least that any batch norm must move.
//
// Forward reads one array and writes one (a copy); backward reads two and
// writes one (their sum). Each once with ordinary stores (forward: memcpy) and
// once with streaming stores, which do not read what they overwrite.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_COPY_PEER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_COPY_PEER_H_

#include <vector>

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

inline constexpr char kCachedCopy[] = "cached copy";
inline constexpr char kStreamingCopy[] = "streaming copy";

// Threads get equal parts.
std::vector<Peer> CopyPeers(const Contest& contest);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_COPY_PEER_H_
