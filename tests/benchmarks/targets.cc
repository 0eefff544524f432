#include "tests/benchmarks/targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "tests/benchmarks/classes.h"
#include "tests/benchmarks/summary.h"

namespace batchnorm::benchmark {
namespace {

// Of a class: its geometric mean, or its worst problem.
enum class Of : std::uint8_t { kMean, kWorst };

// At 1 thread and at more.
struct Bounds {
  double one;
  double several;

  // NOLINTNEXTLINE(google-explicit-constructor): the same for both.
  constexpr Bounds(double both) : one(both), several(both) {}
  constexpr Bounds(double first, double second) : one(first), several(second) {}
};

struct Rule {
  const char* name;
  Metric metric;
  const Class& problems;
  Of of;
  bool is_at_least;
  Bounds forward;
  Bounds backward;
};

constexpr bool kAtLeast = true;
constexpr bool kAtMost = false;

const std::array kRules = {
    Rule{"onednn-nchw", Metric::kSpeedOverOneDnn, kNchw, Of::kMean, kAtLeast,
         4.5, 3.5},
    Rule{"onednn-nchw-every", Metric::kSpeedOverOneDnn, kNchw, Of::kWorst,
         kAtLeast, 2, 2},
    Rule{"onednn-nhwc", Metric::kSpeedOverOneDnn, kNhwc, Of::kMean, kAtLeast,
         1.5, 1.3},
    Rule{"onednn-nhwc-every", Metric::kSpeedOverOneDnn, kNhwc, Of::kWorst,
         kAtLeast, 0.95, 0.95},
    Rule{"onednn-nc-4096x512", Metric::kSpeedOverOneDnn, kNc4096x512, Of::kMean,
         kAtLeast, 30, 22},
    Rule{"pytorch-nchw", Metric::kSpeedOverPyTorchReused, kNchw, Of::kMean,
         kAtLeast, 3.8, 1.5},
    Rule{"pytorch-nhwc-nc", Metric::kSpeedOverPyTorchReused, kNhwcAndNc,
         Of::kMean, kAtLeast, 1.25, 1.15},
    Rule{"pytorch-nhwc-nc-every", Metric::kSpeedOverPyTorchReused, kNhwcAndNc,
         Of::kWorst, kAtLeast, 0.8, 0.8},
    Rule{"copy-nchw-large-planes",
         Metric::kTimeOverCopy,
         kLargePlanes,
         Of::kMean,
         kAtMost,
         {1.7, 1.5},
         {1.8, 1.5}},
    Rule{"copy-nchw-small-planes",
         Metric::kTimeOverCopy,
         kSmallPlanes,
         Of::kMean,
         kAtMost,
         {2.8, 2.0},
         {3.0, 2.7}},
    Rule{"copy-nhwc",
         Metric::kTimeOverCopy,
         kLargeRows,
         Of::kMean,
         kAtMost,
         {2.1, 1.8},
         {2.3, 2.1}},
    Rule{"scaling-over-copy", Metric::kScalingOverCopy, kOver1MiB, Of::kMean,
         kAtLeast, 0.85, 0.85},
    Rule{"scaling", Metric::kScaling, kOver1MiB, Of::kMean, kAtLeast, 1.4, 1.4},
    Rule{"pytorch-nc-32x64", Metric::kSpeedOverPyTorchReused, kNc32x64,
         Of::kMean, kAtLeast, 5, 4},
    Rule{"plain", Metric::kTimeOverPlain, kOver16MiB, Of::kMean, kAtMost, 1.35,
         1.25},
    Rule{"f16", Metric::kF16, kOver64KiB, Of::kMean, kAtLeast, 0.5, 0.5},
    Rule{"bf16", Metric::kBF16, kOver64KiB, Of::kMean, kAtLeast, 0.6, 0.6},
    Rule{"wide", Metric::kWide, kOver64KiB, Of::kMean, kAtLeast, 0.25, 0.25},
};

double Summarized(const Rule& rule, std::span<const double> values) {
  if (rule.of == Of::kMean) return GeometricMean(values);
  return rule.is_at_least ? *std::min_element(values.begin(), values.end())
                          : *std::max_element(values.begin(), values.end());
}

std::optional<Target> Evaluate(const Rule& rule,
                               std::span<const Result> results,
                               Direction direction, int threads) {
  const std::vector<double> values =
      Values(results, {rule.metric, rule.problems, direction, threads});
  if (values.empty()) return std::nullopt;
  const Bounds& bounds =
      direction == Direction::kForward ? rule.forward : rule.backward;
  return Target{fmt::format("{}-{}-{}t", rule.name, NameOf(direction), threads),
                Summarized(rule, values),
                threads == 1 ? bounds.one : bounds.several, rule.is_at_least};
}

}  // namespace

std::vector<Target> Targets(std::span<const Result> results,
                            std::span<const int> threads) {
  std::vector<Target> targets;
  for (const Rule& rule : kRules) {
    for (const Direction direction :
         {Direction::kForward, Direction::kBackward}) {
      for (const int count : threads) {
        const std::optional<Target> target =
            Evaluate(rule, results, direction, count);
        if (target) targets.push_back(*target);
      }
    }
  }
  return targets;
}

}  // namespace batchnorm::benchmark
