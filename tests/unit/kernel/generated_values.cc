#include "tests/unit/kernel/generated_values.h"

#include <cmath>
#include <limits>

namespace batchnorm::kernel {
namespace {

double Normal(Random& random) {
  return std::normal_distribution<double>()(random);
}

double Uniform(double low, double high, Random& random) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

double LogUniform(double low, double high, Random& random) {
  const double magnitude = std::exp2(Uniform(low, high, random));
  return random() % 2 == 0 ? magnitude : -magnitude;
}

std::vector<Generator> MakeGenerators() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {
      {"normal", [](auto, auto, Random& r) { return Normal(r); }},
      {"mean of 2^20 sd",
       [](auto, auto, Random& r) { return 0x1p20 + Normal(r); }},
      {"mean of 2^23 sd",
       [](auto, auto, Random& r) { return 0x1p23 + Normal(r); }},
      {"one odd in many", [](std::size_t i, std::size_t n,
                             auto&) { return i == n / 2 ? 3.25 : 3.0; }},
      {"after ReLU",
       [](auto, auto, Random& r) { return std::max(Normal(r), 0.0); }},
      {"zeros of both signs",
       [](std::size_t i, auto, auto&) { return i % 3 == 0 ? -0.0 : 0.0; }},
      {"powers of two, one sign", [](auto, auto, auto&) { return 0x1p5; }},
      {"just below a power of two",
       [](auto, auto, auto&) { return 0x1p6 - 0x1p-18; }},
      {"at the edge of a certificate",
       [](std::size_t i, auto, auto&) {
         return i % 64 == 5 ? 0x1.8p-21 : i % 64 == 6 ? 0x1.8p-22 : 1.5;
       }},
      {"1e30", [](auto, auto, Random& r) { return 1e30 * Normal(r); }},
      {"1e-40", [](auto, auto, Random& r) { return 1e-40 * Normal(r); }},
      {"1e200", [](auto, auto, Random& r) { return 1e200 * Normal(r); }},
      {"1e-200", [](auto, auto, Random& r) { return 1e-200 * Normal(r); }},
      {"1e-310", [](auto, auto, Random& r) { return 1e-310 * Normal(r); }},
      {"heavy tails",
       [](auto, auto, Random& r) { return Normal(r) / Normal(r); }},
      {"120 binades",
       [](auto, auto, Random& r) { return LogUniform(-60, 60, r); }},
      {"all binades of f32",
       [](auto, auto, Random& r) { return LogUniform(-149, 127.9, r); }},
      {"all binades of f64",
       [](auto, auto, Random& r) { return LogUniform(-1074, 1023.9, r); }},
      {"zeros, then large",
       [](std::size_t i, std::size_t n, Random& r) {
         return i < n / 2 ? 0.0 : 0x1p40 * Normal(r);
       }},
      {"large, then small",
       [](std::size_t i, std::size_t n, Random& r) {
         return (i < n / 2 ? 0x1p40 : 1.0) * Normal(r);
       }},
      {"one NaN",
       [](std::size_t i, std::size_t n, Random& r) {
         return i == n / 3 ? std::nan("") : Normal(r);
       }},
      {"infinities",
       [kInfinity](std::size_t i, std::size_t n, Random& r) {
         return i == n / 3 ? kInfinity : i == n / 2 ? -kInfinity : Normal(r);
       }},
  };
}

}  // namespace

const std::vector<Generator>& Generators() {
  static const std::vector<Generator> generators = MakeGenerators();
  return generators;
}

std::vector<double> Generate(const Generator& generator, std::size_t size,
                             Random& random) {
  std::vector<double> values(size);
  for (std::size_t i = 0; i < size; ++i) {
    values[i] = generator.value(i, size, random);
  }
  return values;
}

}  // namespace batchnorm::kernel
