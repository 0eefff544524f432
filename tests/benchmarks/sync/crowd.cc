#include "tests/benchmarks/sync/crowd.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {
namespace {

constexpr std::size_t kConnections = 16;
constexpr std::size_t kRanks = 2;
constexpr GroupSize kSize{.ranks = kRanks, .channels = 64};

}  // namespace

Crowd::Crowd(const std::string& address, const std::string& echo_address,
             std::size_t groups)
    : messages_("crowd", kSize),
      volley_(address, kConnections),
      echo_(echo_address, kConnections),
      one_(address, {.ranks = kRanks, .channels = 65}) {
  for (std::size_t i = 0; i < groups; ++i) {
    names_.push_back(fmt::format("crowd/{}", i));
    CreateGroup(volley_, names_.back(), kSize);
  }
}

std::vector<Shot> Crowd::Forwards(std::size_t first, std::size_t end) const {
  std::vector<Shot> shots;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const std::vector<Shot> both = messages_.Forwards(step_, names_[i], 0);
    for (std::size_t rank = first; rank < end; ++rank) {
      shots.push_back({(kRanks * i + rank) % kConnections, both[rank].method,
                       both[rank].request});
    }
  }
  return shots;
}

// After a rest of its own: what others did before it, and a processor that has
// slept, are not what is asked for.
double Crowd::StepOfOne() {
  constexpr int kWarmUp = 100;
  constexpr int kSteps = 101;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  for (int i = 0; i < kWarmUp; ++i) one_.Step();
  std::vector<double> seconds;
  seconds.reserve(kSteps);
  for (int i = 0; i < kSteps; ++i) seconds.push_back(one_.Step());
  return Median(seconds);
}

// Alone before and after, so that a machine that gets slower does not count.
double Crowd::BesideWaiting() {
  const double before = StepOfOne();
  ++step_;
  volley_.Begin(Forwards(0, 1));
  const double beside = StepOfOne();
  volley_.Begin(Forwards(1, kRanks));
  volley_.Collect();
  const double after = StepOfOne();
  return 2 * beside / (before + after);
}

double Crowd::AllOverEcho() {
  ++step_;
  const std::vector<Shot> shots = Forwards(0, kRanks);
  std::vector<grpc::ByteBuffer> replies;
  const double ours = volley_.Fire(shots, &replies);
  return ours / echo_.Fire(Echoes(shots, replies[0].Length()));
}

}  // namespace batchnorm::benchmark
