// Two builds of the kernel, called in turn on the same arrays: what a change
// makes of its speed. README.md says how the builds are made.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/benchmarks/buffers.h"
#include "tests/benchmarks/builds/build.h"
#include "tests/benchmarks/builds/compare_options.h"
#include "tests/benchmarks/exit_code.h"
#include "tests/benchmarks/problem_choice.h"

namespace batchnorm::benchmark {
namespace {

struct Comparison {
  std::string problem;
  std::string kind;
  int threads;
  double ratio;  // after's time over before's
};

Buffers BuffersFor(const std::vector<Problem>& problems) {
  std::int64_t size = 0;
  for (const Problem& problem : problems) {
    size = std::max(size, problem.shape.size());
  }
  return {size, size};
}

const Inputs& InputsOf(const Buffers& buffers, const std::string& kind) {
  if (kind == "f16") return buffers.f16;
  if (kind == "bf16") return buffers.bf16;
  if (kind == "wide") return buffers.wide;
  return buffers.f32;
}

BnProblem ProblemOf(const Problem& problem, const Inputs& inputs,
                    const Buffers& buffers, const Parameters& parameters,
                    int threads) {
  const Shape& shape = problem.shape;
  const bool is_nhwc = problem.layout == Layout::kNhwc;
  return {static_cast<int>(inputs.dtype),
          is_nhwc ? shape.batch * shape.pixels() : shape.batch,
          shape.channels,
          is_nhwc ? 1 : shape.pixels(),
          problem.direction == Direction::kForward,
          threads,
          inputs.x.As<void>(),
          inputs.dy.As<void>(),
          buffers.out.As<void>(),
          parameters.wide_gamma.data(),
          parameters.wide_beta.data()};
}

double Ratio(const Build& before, const Build& after, const BnProblem& problem,
             int rounds) {
  constexpr int kRounds = 15;
  constexpr double kSampleSeconds = 0.005;
  const std::vector<Peer> peers = {before.MakePeer(problem),
                                   after.MakePeer(problem)};
  const std::vector<Series> series =
      MeasureInTurn(peers, {rounds > 0 ? rounds : kRounds, kSampleSeconds});
  return PairedRatio(series[1], series[0]);
}

// Calls visit(const Comparison&) for each as soon as it is measured.
template <typename Visit>
void CompareAll(const CompareOptions& options, Visit&& visit) {
  const Build before(options.before);
  const Build after(options.after);
  const std::vector<Problem> problems = ChooseProblems(options.problems);
  const Buffers buffers = BuffersFor(problems);
  for (const Problem& problem : problems) {
    const Parameters parameters(problem.shape.channels);
    const std::string name =
        fmt::format("{} {} {}", SizesOf(problem.shape), NameOf(problem.layout),
                    NameOf(problem.direction));
    for (const std::string& kind : options.kinds) {
      for (const int threads : options.problems.threads) {
        const BnProblem given = ProblemOf(problem, InputsOf(buffers, kind),
                                          buffers, parameters, threads);
        visit(Comparison{name, kind, threads,
                         Ratio(before, after, given, options.problems.rounds)});
      }
    }
  }
}

nlohmann::json AsJson(const Comparison& comparison) {
  return {{"problem", comparison.problem},
          {"kind", comparison.kind},
          {"threads", comparison.threads},
          {"after_over_before", comparison.ratio}};
}

void Run(const CompareOptions& options) {
  std::vector<double> ratios;
  nlohmann::json comparisons = nlohmann::json::array();
  CompareAll(options, [&](const Comparison& comparison) {
    ratios.push_back(comparison.ratio);
    comparisons.push_back(AsJson(comparison));
    fmt::print(options.problems.is_json ? stderr : stdout,
               "{:32} {:5} {:3} {:6.3f}\n", comparison.problem, comparison.kind,
               comparison.threads, comparison.ratio);
    std::fflush(stdout);
  });
  const double mean = GeometricMean(ratios);
  if (options.problems.is_json) {
    fmt::print("{}\n", nlohmann::json{{"comparisons", comparisons},
                                      {"geometric_mean", mean}}
                           .dump());
  } else {
    fmt::print("{:42} {:6.3f}\n", "geometric mean", mean);
  }
}

}  // namespace
}  // namespace batchnorm::benchmark

int main(int argc, char** argv) {
  using namespace batchnorm::benchmark;
  CompareOptions options;
  if (const auto code = ParseCompareOptions(argc, argv, options)) return *code;
  return ExitCodeOf([&] { Run(options); });
}
