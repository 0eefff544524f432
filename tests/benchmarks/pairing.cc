#include "tests/benchmarks/pairing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace batchnorm::benchmark {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxCalls = 100000;

// A core that slept while peers of one thread were at work takes some hundred
// microseconds to be as quick as it gets. And where a peer with other arrays
// was at work, a tensor of some megabytes is back in the third-level cache, and
// calls as quick as they stay, only after half a dozen of them. pytorch_peer.py
// does the same.
constexpr std::chrono::milliseconds kWarmUp{1};
constexpr std::chrono::milliseconds kLongestWarmUp{10};
constexpr int kWarmUpCalls = 10;

void WarmUp(const std::function<void()>& call) {
  const auto start = Clock::now();
  Clock::duration elapsed{};
  for (int calls = 0;
       elapsed < kWarmUp || (calls < kWarmUpCalls && elapsed < kLongestWarmUp);
       ++calls) {
    call();
    elapsed = Clock::now() - start;
  }
}

// Calls that fill a sample. The second estimate is of warm calls.
int CallsASample(const Peer& peer, double sample_seconds) {
  int calls = 1;
  for (int estimate = 0; estimate < 2; ++estimate) {
    const double seconds = peer.sample(calls);
    calls = static_cast<int>(
        std::clamp(std::ceil(sample_seconds / std::max(seconds, 1e-9)), 1.0,
                   double{kMaxCalls}));
    if (calls == 1) break;
  }
  return calls;
}

}  // namespace

std::function<double(int)> Timed(std::function<void()> call) {
  return [call = std::move(call)](int calls) {
    WarmUp(call);
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    return elapsed.count() / calls;
  };
}

std::vector<Series> MeasureInTurn(std::span<const Peer> peers,
                                  const Pairing& pairing) {
  std::vector<Series> all;
  for (const Peer& peer : peers) {
    all.push_back({peer.name,
                   peer.threads,
                   CallsASample(peer, pairing.sample_seconds),
                   {}});
  }
  for (int round = 0; round < pairing.rounds; ++round) {
    for (std::size_t i = 0; i < peers.size(); ++i) {
      const std::size_t turn =
          (i + static_cast<std::size_t>(round)) % peers.size();
      all[turn].seconds.push_back(peers[turn].sample(all[turn].calls));
    }
  }
  return all;
}

double Median(std::vector<double> values) {
  const auto middle =
      values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double GeometricMean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

double PairedRatio(const Series& a, const Series& b) {
  std::vector<double> ratios;
  ratios.reserve(a.seconds.size());
  for (std::size_t round = 0; round < a.seconds.size(); ++round) {
    ratios.push_back(a.seconds[round] / b.seconds[round]);
  }
  return Median(std::move(ratios));
}

}  // namespace batchnorm::benchmark
