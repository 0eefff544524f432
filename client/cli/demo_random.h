// Reproducible random numbers for `bn demo`. The distributions of <random>
// differ between standard libraries; its engines do not, so the mapping from
// the engine's integers is written out here. Thread-compatible.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_RANDOM_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace batchnorm::cli {

class DemoRandom {
 public:
  explicit DemoRandom(std::uint64_t seed) : engine_(seed) {}

  // In [-1, 1), a multiple of 2^-52.
  double Symmetric() {
    return static_cast<double>(engine_() >> 11) * 0x1p-52 - 1;
  }

  // In [0, bound). Biased by less than bound / 2^64. REQUIRES: bound > 0.
  std::size_t Below(std::size_t bound) { return engine_() % bound; }

  // The numbers below `count` in random order (Fisher and Yates).
  std::vector<std::size_t> Permutation(std::size_t count) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = count; i > 1; --i) {
      std::swap(order[i - 1], order[Below(i)]);
    }
    return order;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_RANDOM_H_
