// Numbers of all channels side by side, with room for a vector behind them.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_COLUMNS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace batchnorm::benchmark {

inline std::vector<double> Column(std::int64_t channels) {
  constexpr std::int64_t kMostLanes = 32;
  return std::vector<double>(static_cast<std::size_t>(channels + kMostLanes));
}

// S and Q, or D and P.
struct SumColumns {
  explicit SumColumns(std::int64_t channels)
      : sum(Column(channels)), products(sum) {}

  std::vector<double> sum;
  std::vector<double> products;
};

// plain_layer.h, Affine.
struct AffineColumns {
  explicit AffineColumns(std::int64_t channels)
      : scale(Column(channels)), slope(scale), offset(scale) {}

  std::vector<double> scale;
  std::vector<double> slope;
  std::vector<double> offset;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_COLUMNS_H_
