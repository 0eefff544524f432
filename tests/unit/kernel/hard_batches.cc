#include "tests/unit/kernel/hard_batches.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

using Values = std::vector<double>;

struct Ranges {
  double large;      // kappa = large where sd is 1
  double huge;       // near the end of the format
  double tiny;       // among its subnormals
  int least_binade;  // of the mixed magnitudes
  int greatest_binade;
};

Ranges RangesOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return {0x1p10, 8e3, 3e-7, -24, 14};
    case Dtype::kBF16:
      return {0x1p7, 1e37, 1e-40, -133, 126};
    case Dtype::kF32:
      return {0x1p23, 1e30, 1e-40, -149, 126};
    case Dtype::kF64:
      return {0x1p45, 1e200, 1e-310, -1070, 1020};
  }
  return {};
}

Values Generate(std::size_t n, const std::function<double(std::size_t)>& next) {
  Values values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = next(i);
  return values;
}

Values Normal(std::size_t n, double mean, double sd, Random& random) {
  std::normal_distribution<double> normal(mean, sd);
  return Generate(n, [&](std::size_t) { return normal(random); });
}

// Magnitudes of all binades, both signs.
Values MixedMagnitudes(std::size_t n, const Ranges& ranges, Random& random) {
  std::uniform_int_distribution<int> binade(ranges.least_binade,
                                            ranges.greatest_binade);
  std::uniform_real_distribution<double> fraction(-1, 1);
  return Generate(n, [&](std::size_t) {
    return std::ldexp(fraction(random), binade(random));
  });
}

// Pairs of opposite values: the sum is exactly 0, whatever the order.
Values CancellingPairs(std::size_t n, double size, Random& random) {
  Values values = Normal(n, 0, size, random);
  for (std::size_t i = 0; i + 1 < n; i += 2) values[i + 1] = -values[i];
  if (n % 2 != 0) values.back() = 0;
  return values;
}

// A constant with one value a little off.
Values OneOdd(std::size_t n, double size) {
  Values values(n, size);
  values[n / 2] = size * (1 + 0x1p-7);
  return values;
}

// dy that is almost an affine function of x: dx is almost 0.
Values NearlyAffine(const Values& x, Random& random) {
  std::normal_distribution<double> noise(0, 1e-3);
  double largest = 0;
  for (const double value : x) largest = std::max(largest, std::abs(value));
  if (largest == 0) largest = 1;
  return Generate(x.size(), [&](std::size_t i) {
    return 1 + x[i] / largest * (1 + noise(random));
  });
}

std::vector<std::pair<std::string, Values>> HardX(Dtype dtype, std::size_t n,
                                                  Random& random) {
  const Ranges ranges = RangesOf(dtype);
  Values relu = Normal(n, 0, 1, random);
  for (double& value : relu) value = std::max(value, 0.0);
  std::vector<std::pair<std::string, Values>> result = {
      {"normal", Normal(n, 0.5, 2, random)},
      {"after ReLU", relu},
      {"large mean", Normal(n, ranges.large, 1, random)},
      {"mean of 100 sd", Normal(n, 5, 0.05, random)},
      {"one odd", OneOdd(n, 3)},
      {"constant", Values(n, 0.1)},
      {"huge", Normal(n, 0, ranges.huge, random)},
      {"one odd, huge", OneOdd(n, ranges.huge)},
      {"tiny", Normal(n, 0, ranges.tiny, random)},
      {"tiny with offset", Normal(n, 30 * ranges.tiny, ranges.tiny, random)},
      {"mixed magnitudes", MixedMagnitudes(n, ranges, random)},
      {"cancelling pairs", CancellingPairs(n, 1e3, random)},
  };
  if (dtype == Dtype::kF64) {
    result.emplace_back("1e300", Normal(n, 0, 1e300, random));
    result.emplace_back("1e-200", Normal(n, 0, 1e-200, random));
    result.emplace_back("ends of the range", Values(n, 1.7e308));
    result.back().second[0] = -1.7e308;
    result.emplace_back("two least", Values(n, 5e-324));
    result.back().second[n / 3] = 1e-323;
  }
  return result;
}

Values Columns(const std::vector<HardChannel>& channels,
               Values HardChannel::* values) {
  Values columns;
  for (std::size_t row = 0; row < (channels.front().*values).size(); ++row) {
    for (const HardChannel& channel : channels) {
      columns.push_back((channel.*values)[row]);
    }
  }
  return columns;
}

}  // namespace

std::vector<HardChannel> HardChannels(Dtype dtype, std::size_t n,
                                      Random& random) {
  std::vector<HardChannel> channels;
  for (const auto& [name, values] : HardX(dtype, n, random)) {
    const Values x = RoundedTo(dtype, values);
    const auto add = [&](std::string kind, const Values& dy) {
      kind.append(" dy of ").append(name);
      channels.push_back({std::move(kind), x, RoundedTo(dtype, dy)});
    };
    add("normal", Normal(n, 0, 1, random));
    add("nearly affine", NearlyAffine(x, random));
    add("offset", Normal(n, 100, 0.1, random));
  }
  return channels;
}

std::vector<double> XColumns(const std::vector<HardChannel>& channels) {
  return Columns(channels, &HardChannel::x);
}

std::vector<double> DyColumns(const std::vector<HardChannel>& channels) {
  return Columns(channels, &HardChannel::dy);
}

}  // namespace batchnorm::kernel
