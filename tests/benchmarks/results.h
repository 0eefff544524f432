// What was measured of one problem, and the ratios that are read from it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_RESULTS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_RESULTS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tests/benchmarks/pairing.h"
#include "tests/benchmarks/shapes.h"

namespace batchnorm::benchmark {

struct Result {
  Problem problem;
  std::vector<Series> series;

  // Null if that was not measured.
  const Series* Find(std::string_view peer, int threads) const;
  // Of two peers the one with the lower median.
  const Series* Better(std::string_view a, std::string_view b,
                       int threads) const;
};

// Ratios of batchnormd and a peer with equally many threads, in one round.
enum class Metric : std::uint8_t {
  kTimeOverCopy,            // its time over the better copy's
  kTimeOverPlain,           // its time over the plain loops'
  kSpeedOverOneDnn,         // oneDNN's time over its
  kSpeedOverOneDnnBest,     // oneDNN in whatever layout it is fastest with
  kSpeedOverPyTorch,        // PyTorch's time over its
  kSpeedOverPyTorchReused,  // PyTorch with its heap reused
  kF16,                     // bytes a second over those of f32
  kBF16,                    // the same
  kWide,             // speed with data that defeats the certificate over normal
  kScaling,          // its time with one thread over that with several
  kScalingOverCopy,  // that over the better copy's own
};

inline constexpr std::array kMetrics = {Metric::kTimeOverCopy,
                                        Metric::kTimeOverPlain,
                                        Metric::kSpeedOverOneDnn,
                                        Metric::kSpeedOverOneDnnBest,
                                        Metric::kSpeedOverPyTorch,
                                        Metric::kSpeedOverPyTorchReused,
                                        Metric::kF16,
                                        Metric::kBF16,
                                        Metric::kWide,
                                        Metric::kScaling,
                                        Metric::kScalingOverCopy};

const char* NameOf(Metric metric);

// Empty if a part of it was not measured.
std::optional<double> ValueOf(Metric metric, const Result& result, int threads);

// Billions of bytes of x a second, by the median. REQUIRES: was measured.
double GigabytesASecond(const Result& result, const Series& series);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_RESULTS_H_
