#include "tests/benchmarks/results.h"

#include <algorithm>

#include "tests/benchmarks/copy_peer.h"
#include "tests/benchmarks/kernel_peer.h"
#include "tests/benchmarks/onednn_peer.h"
#include "tests/benchmarks/plain_peer.h"
#include "tests/benchmarks/pytorch_peer.h"

namespace batchnorm::benchmark {
namespace {

// Where either was not measured, neither is the ratio.
std::optional<double> Ratio(const Series* a, const Series* b) {
  if (a == nullptr || b == nullptr) return std::nullopt;
  return PairedRatio(*a, *b);
}

std::optional<double> Half(std::optional<double> value) {
  if (value) *value /= 2;
  return value;
}

// The median over rounds of (a1/a) / (b1/b).
std::optional<double> RatioOfRatios(const Series* a1, const Series* a,
                                    const Series* b1, const Series* b) {
  if (a1 == nullptr || a == nullptr || b1 == nullptr || b == nullptr) {
    return std::nullopt;
  }
  std::vector<double> ratios;
  ratios.reserve(a->seconds.size());
  for (std::size_t round = 0; round < a->seconds.size(); ++round) {
    ratios.push_back(a1->seconds[round] / a->seconds[round] /
                     (b1->seconds[round] / b->seconds[round]));
  }
  return Median(std::move(ratios));
}

}  // namespace

const Series* Result::Find(std::string_view peer, int threads) const {
  const auto found =
      std::find_if(series.begin(), series.end(), [&](const Series& one) {
        return one.peer == peer && one.threads == threads;
      });
  return found == series.end() ? nullptr : &*found;
}

const Series* Result::Better(std::string_view a, std::string_view b,
                             int threads) const {
  const Series* const first = Find(a, threads);
  const Series* const second = Find(b, threads);
  if (first == nullptr || second == nullptr) {
    return first == nullptr ? second : first;
  }
  return Median(first->seconds) <= Median(second->seconds) ? first : second;
}

const char* NameOf(Metric metric) {
  switch (metric) {
    case Metric::kTimeOverCopy:
      return "over copy";
    case Metric::kTimeOverPlain:
      return "over plain";
    case Metric::kSpeedOverOneDnn:
      return "oneDNN";
    case Metric::kSpeedOverOneDnnBest:
      return "oneDNN best";
    case Metric::kSpeedOverPyTorch:
      return "PyTorch";
    case Metric::kSpeedOverPyTorchReused:
      return "PyTorch reused";
    case Metric::kF16:
      return "f16";
    case Metric::kBF16:
      return "bf16";
    case Metric::kWide:
      return "wide";
    case Metric::kScaling:
      return "scaling";
    case Metric::kScalingOverCopy:
      return "scaling over copy";
  }
  return "";
}

std::optional<double> ValueOf(Metric metric, const Result& result,
                              int threads) {
  const Series* const ours = result.Find(kExact, threads);
  const auto copy = [&](int count) {
    return result.Better(kCachedCopy, kStreamingCopy, count);
  };
  switch (metric) {
    case Metric::kTimeOverCopy:
      return Ratio(ours, copy(threads));
    case Metric::kTimeOverPlain:
      return Ratio(ours, result.Find(kPlain, threads));
    case Metric::kSpeedOverOneDnn:
      return Ratio(result.Find(kOneDnn, threads), ours);
    case Metric::kSpeedOverOneDnnBest:
      return Ratio(result.Better(kOneDnn, kOneDnnBest, threads), ours);
    case Metric::kSpeedOverPyTorch:
      return Ratio(result.Find(kPyTorch, threads), ours);
    case Metric::kSpeedOverPyTorchReused:
      return Ratio(result.Find(kPyTorchReused, threads), ours);
    case Metric::kF16:
      return Half(Ratio(ours, result.Find(kExactF16, threads)));
    case Metric::kBF16:
      return Half(Ratio(ours, result.Find(kExactBF16, threads)));
    case Metric::kWide:
      return Ratio(ours, result.Find(kExactWide, threads));
    case Metric::kScaling:
      if (threads == 1) return std::nullopt;
      return Ratio(result.Find(kExact, 1), ours);
    case Metric::kScalingOverCopy:
      if (threads == 1) return std::nullopt;
      return RatioOfRatios(result.Find(kExact, 1), ours, copy(1),
                           copy(threads));
  }
  return std::nullopt;
}

double GigabytesASecond(const Result& result, const Series& series) {
  return static_cast<double>(result.problem.shape.f32_bytes()) / 1e9 /
         Median(series.seconds);
}

}  // namespace batchnorm::benchmark
