// The kernel beside its peers, all in one run: README.md says what is measured.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "tests/benchmarks/contestants.h"
#include "tests/benchmarks/exit_code.h"
#include "tests/benchmarks/machine.h"
#include "tests/benchmarks/onednn_peer.h"
#include "tests/benchmarks/options.h"
#include "tests/benchmarks/problem_choice.h"
#include "tests/benchmarks/report.h"
#include "tests/benchmarks/table.h"
#include "tests/benchmarks/targets.h"

namespace batchnorm::benchmark {
namespace {

// The pools of threads that the peers of this process share.
using Pools = std::vector<std::unique_ptr<kernel::Workers>>;

Pools MakePools(const std::vector<int>& threads) {
  Pools pools;
  for (const int count : threads) {
    pools.push_back(std::make_unique<kernel::Workers>(count));
  }
  return pools;
}

PyTorches StartPyTorches(const Options& options) {
  if (!options.has_pytorch) return {};
  if (access(options.python.c_str(), X_OK) != 0) {
    throw std::invalid_argument(
        fmt::format("no Python at {}\nhint: tests/benchmarks/install-pytorch "
                    "installs PyTorch there; --no-pytorch does without",
                    options.python));
  }
  PyTorches pytorches;
  for (const Heap heap : {Heap::kAsInstalled, Heap::kReused}) {
    pytorches.push_back(std::make_unique<PyTorch>(options.python, heap));
  }
  return pytorches;
}

std::string VersionOf(const PyTorches& pytorches) {
  std::string version;
  for (const auto& pytorch : pytorches) version = pytorch->Version();
  return version;
}

Buffers BuffersFor(const std::vector<Problem>& problems) {
  std::int64_t size = 0;
  std::int64_t variant_size = 0;
  for (const Problem& problem : problems) {
    size = std::max(size, problem.shape.size());
    if (!HasVariants(problem)) continue;
    variant_size = std::max(variant_size, problem.shape.size());
  }
  return {size, variant_size};
}

Pairing PairingFor(const Options& options, const Problem& problem) {
  constexpr std::int64_t kSmall = 1 << 20;
  constexpr double kSampleSeconds = 0.002;
  int rounds = problem.shape.f32_bytes() <= kSmall ? 7 : 5;
  if (options.is_quick) rounds = 3;
  if (options.rounds > 0) rounds = options.rounds;
  return {rounds, kSampleSeconds};
}

Result Measure(const Problem& problem, const Buffers& buffers,
               const Pools& pools, const PyTorches& pytorches,
               const Pairing& pairing) {
  const Parameters parameters(problem.shape.channels);
  std::vector<Peer> peers;
  for (const auto& workers : pools) {
    const Contest contest{problem, buffers, parameters, *workers};
    for (Peer& peer : PeersOf(contest, pytorches)) {
      peers.push_back(std::move(peer));
    }
  }
  return {problem, MeasureInTurn(peers, pairing)};
}

// Threads that wait for each other lose a time slice to anything else that
// runs: OpenMP's calls then take milliseconds instead of microseconds.
void WarnIfBusy(double load) {
  constexpr double kBusy = 0.5;
  if (load < kBusy) return;
  fmt::print(stderr,
             "note: something else runs here (load average {:.1f}); results "
             "with several threads will mean little\n",
             load);
}

Run MeasureAll(const Options& options) {
  Run run{ThisMachine(),
          CurrentLoad(),
          options.is_quick,
          options.threads,
          OneDnnVersion(),
          "",
          {}};
  WarnIfBusy(run.load);
  const std::vector<Problem> problems = ChooseProblems(options);
  const PyTorches pytorches = StartPyTorches(options);
  const Buffers buffers = BuffersFor(problems);
  const Pools pools = MakePools(options.threads);
  run.pytorch = VersionOf(pytorches);
  for (const Problem& problem : problems) {
    fmt::print(stderr, "{}/{} {}\n", run.results.size() + 1, problems.size(),
               problem.Name());
    run.results.push_back(Measure(problem, buffers, pools, pytorches,
                                  PairingFor(options, problem)));
  }
  return run;
}

std::string HeadOf(const Run& run) {
  return fmt::format("{}\noneDNN {}, PyTorch {}\n", Describe(run.machine),
                     run.onednn,
                     run.pytorch.empty() ? "left out" : run.pytorch);
}

void Print(const Run& run, bool is_json) {
  if (is_json) {
    fmt::print("{}\n", AsJson(run).dump());
  } else {
    fmt::print("{}{}\n", HeadOf(run), TablesOf(run.results, run.threads));
  }
  for (const Target& target : Targets(run.results, run.threads)) {
    fmt::print(is_json ? stderr : stdout, "{}\n", LineOf(target));
  }
}

}  // namespace
}  // namespace batchnorm::benchmark

int main(int argc, char** argv) {
  using namespace batchnorm::benchmark;
  Options options;
  if (const auto code = ParseOptions(argc, argv, options)) return *code;
  return ExitCodeOf([&] { Print(MeasureAll(options), options.is_json); });
}
