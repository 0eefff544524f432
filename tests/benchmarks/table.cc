#include "tests/benchmarks/table.h"

#include <fmt/format.h>

#include <optional>

#include "tests/benchmarks/classes.h"
#include "tests/benchmarks/kernel_peer.h"
#include "tests/benchmarks/summary.h"

namespace batchnorm::benchmark {
namespace {

constexpr char kLegend[] =
    "GB/s: bytes of x a second. Time of batchnormd over that of the better "
    "copy and of\nplain f64 loops; speed of batchnormd over that of the others "
    "and, for f16, bf16\nand wide exponents, over its own with normal f32. "
    "Medians of paired rounds.\n";

constexpr int kLabelWidth = 34;

std::string Label(const Problem& problem) {
  return fmt::format("{} {}", SizesOf(problem.shape), NameOf(problem.layout));
}

std::string Cell(std::optional<double> value) {
  return fmt::format("{:>9}", value ? fmt::format("{:.2f}", *value) : "-");
}

std::string Head(Direction direction, int threads) {
  std::string text =
      fmt::format("\n{:<{}}{:>9}{:>7}",
                  fmt::format("{}, threads: {}", NameOf(direction), threads),
                  kLabelWidth, "MiB", "GB/s");
  for (const char* title :
       {"/copy", "/plain", "oneDNN", "best", "PyTorch", "reused", "f16", "bf16",
        "wide", "scaling", "/copy's"}) {
    text += fmt::format("{:>9}", title);
  }
  return text + "\n";
}

std::string Row(const Result& result, int threads) {
  const Series* const ours = result.Find(kExact, threads);
  if (ours == nullptr) return "";
  const Problem& problem = result.problem;
  std::string text =
      fmt::format("{:<{}}{:>9.3f}{:>7.2f}", Label(problem), kLabelWidth,
                  static_cast<double>(problem.shape.f32_bytes()) / (1 << 20),
                  GigabytesASecond(result, *ours));
  for (const Metric metric : kMetrics) {
    text += Cell(ValueOf(metric, result, threads));
  }
  return text + "\n";
}

// Empty where nothing of the class was measured.
std::string MeansOf(std::span<const Result> results, const Class& problems,
                    Direction direction, int threads) {
  std::string text =
      fmt::format("{:<{}}{:>16}", problems.name, kLabelWidth, "");
  bool has_any = false;
  for (const Metric metric : kMetrics) {
    const std::vector<double> values =
        Values(results, {metric, problems, direction, threads});
    has_any = has_any || !values.empty();
    text += Cell(values.empty() ? std::nullopt
                                : std::optional(GeometricMean(values)));
  }
  return has_any ? text + "\n" : "";
}

std::string TableOf(std::span<const Result> results, Direction direction,
                    int threads) {
  std::string text = Head(direction, threads);
  for (const Result& result : results) {
    if (result.problem.direction == direction) text += Row(result, threads);
  }
  text += "geometric means\n";
  for (const Class* problems : AllClasses()) {
    text += MeansOf(results, *problems, direction, threads);
  }
  return text;
}

}  // namespace

std::string TablesOf(std::span<const Result> results,
                     std::span<const int> threads) {
  std::string text = kLegend;
  for (const int count : threads) {
    text += TableOf(results, Direction::kForward, count);
    text += TableOf(results, Direction::kBackward, count);
  }
  return text;
}

}  // namespace batchnorm::benchmark
