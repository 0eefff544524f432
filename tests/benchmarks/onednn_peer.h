// oneDNN as a peer, in the problem's layout and in its own best one.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_PEER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_PEER_H_

#include <string>

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

inline constexpr char kOneDnn[] = "oneDNN";
inline constexpr char kOneDnnBest[] = "oneDNN best";

// On the problem's own layout.
Peer OneDnnPeer(const Contest& contest);

// On whichever other layout it is fastest with (blocked by 8 or 16 channels,
// channels last, `any`): what a network that is free to choose would see.
// Nothing is reordered: the buffers' values are simply those of that layout.
Peer OneDnnBestPeer(const Contest& contest);

std::string OneDnnVersion();

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_PEER_H_
