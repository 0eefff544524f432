// Peers timed in turn, so that what disturbs a machine disturbs all of them.
//
// A round takes one sample of each peer, and each round begins with another
// one. Only the ratios of one round are compared; their median is the result.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PAIRING_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PAIRING_H_

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace batchnorm::benchmark {

struct Peer {
  std::string name;
  int threads;
  // Does its work untimed for a moment, which warms its caches, threads and
  // cores, then `calls` times; returns the seconds a call.
  std::function<double(int calls)> sample;
};

// A Peer::sample for what is done in this process.
std::function<double(int)> Timed(std::function<void()> call);

struct Series {
  std::string peer;
  int threads;
  int calls;                    // a sample
  std::vector<double> seconds;  // a call; one entry a round
};

struct Pairing {
  int rounds;
  double sample_seconds;  // at least so long, by repeating short calls
};

std::vector<Series> MeasureInTurn(std::span<const Peer> peers,
                                  const Pairing& pairing);

// REQUIRES (all): not empty.
double Median(std::vector<double> values);
double GeometricMean(std::span<const double> values);
// The median over rounds of a's seconds over b's. REQUIRES: equal rounds.
double PairedRatio(const Series& a, const Series& b);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PAIRING_H_
