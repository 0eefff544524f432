#include "tests/benchmarks/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

namespace batchnorm::benchmark {
namespace {

constexpr std::int64_t kSamples = 4096;
constexpr float kTolerance = 1e-3F;

// Spread over the whole output, its first and last value among them.
std::vector<std::int64_t> Places(std::int64_t size) {
  std::vector<std::int64_t> places;
  const std::int64_t step = std::max<std::int64_t>(1, size / kSamples);
  for (std::int64_t at = 0; at < size; at += step) places.push_back(at);
  places.push_back(size - 1);
  return places;
}

std::vector<float> OutputOf(const Peer& peer, float* out,
                            const std::vector<std::int64_t>& places) {
  for (const std::int64_t at : places) {
    out[at] = std::numeric_limits<float>::quiet_NaN();
  }
  peer.sample(1);
  std::vector<float> values;
  values.reserve(places.size());
  for (const std::int64_t at : places) values.push_back(out[at]);
  return values;
}

}  // namespace

void RequireAgreement(const Contest& contest, const Peer& peer,
                      const Peer& reference) {
  const std::vector<std::int64_t> places = Places(contest.problem.shape.size());
  auto* const out = contest.buffers.out.As<float>();
  const std::vector<float> expected = OutputOf(reference, out, places);
  const std::vector<float> got = OutputOf(peer, out, places);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const float error = std::abs(got[i] - expected[i]);
    if (error <= kTolerance * (1 + std::abs(expected[i]))) continue;
    throw std::runtime_error(
        fmt::format("{}, {} threads: {} gives {} at {}, {} gives {}",
                    contest.problem.Name(), peer.threads, peer.name, got[i],
                    places[i], reference.name, expected[i]));
  }
}

}  // namespace batchnorm::benchmark
