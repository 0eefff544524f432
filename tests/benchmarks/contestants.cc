#include "tests/benchmarks/contestants.h"

#include "tests/benchmarks/agreement.h"
#include "tests/benchmarks/classes.h"
#include "tests/benchmarks/copy_peer.h"
#include "tests/benchmarks/kernel_peer.h"
#include "tests/benchmarks/onednn_peer.h"
#include "tests/benchmarks/plain_peer.h"

namespace batchnorm::benchmark {

bool HasVariants(const Problem& problem) {
  return kOver64KiB.contains(problem);
}

std::vector<Peer> PeersOf(const Contest& contest, const PyTorches& pytorches) {
  const Buffers& buffers = contest.buffers;
  std::vector<Peer> peers = {KernelPeer(contest, kExact, buffers.f32),
                             PlainPeer(contest), OneDnnPeer(contest)};
  RequireAgreement(contest, peers[1], peers[0]);
  RequireAgreement(contest, peers[2], peers[0]);
  for (Peer& copy : CopyPeers(contest)) peers.push_back(std::move(copy));
  peers.push_back(OneDnnBestPeer(contest));
  if (HasVariants(contest.problem)) {
    peers.push_back(KernelPeer(contest, kExactF16, buffers.f16));
    peers.push_back(KernelPeer(contest, kExactBF16, buffers.bf16));
    peers.push_back(KernelPeer(contest, kExactWide, buffers.wide));
  }
  for (const auto& pytorch : pytorches) {
    peers.push_back(pytorch->MakePeer(contest));
  }
  return peers;
}

}  // namespace batchnorm::benchmark
