// Batch normalization straight from its definition, in long double and two
// passes: the truth that these tests compare with, made of none of the
// server's code. x is [n, channels].
#ifndef BATCHNORMD_TESTS_UNIT_SESSION_REFERENCE_H_
#define BATCHNORMD_TESTS_UNIT_SESSION_REFERENCE_H_

#include <cmath>
#include <cstddef>
#include <vector>

namespace batchnorm::session::reference {

using Real = long double;

struct Channel {
  Real n = 0;
  Real mean = 0;
  Real var = 0;  // population
  Real inv_std = 0;
};

inline Channel Statistics(const std::vector<double>& x, std::size_t channels,
                          std::size_t channel, Real eps) {
  Channel result;
  const std::size_t n = x.size() / channels;
  result.n = static_cast<Real>(n);
  for (std::size_t i = channel; i < x.size(); i += channels) {
    result.mean += static_cast<Real>(x[i]) / result.n;
  }
  for (std::size_t i = channel; i < x.size(); i += channels) {
    const Real d = static_cast<Real>(x[i]) - result.mean;
    result.var += d * d / result.n;
  }
  result.inv_std = 1 / std::sqrt(result.var + eps);
  return result;
}

inline Real XHat(double x, const Channel& channel) {
  return (static_cast<Real>(x) - channel.mean) * channel.inv_std;
}

struct Gradients {
  Real dgamma = 0;
  Real dbeta = 0;
};

inline Gradients Backward(const std::vector<double>& x,
                          const std::vector<double>& dy, std::size_t channels,
                          std::size_t channel, const Channel& statistics) {
  Gradients result;
  for (std::size_t i = channel; i < x.size(); i += channels) {
    result.dgamma += static_cast<Real>(dy[i]) * XHat(x[i], statistics);
    result.dbeta += static_cast<Real>(dy[i]);
  }
  return result;
}

inline Real Dx(double x, double dy, Real gamma, const Channel& statistics,
               const Gradients& gradients) {
  return gamma * statistics.inv_std *
         (static_cast<Real>(dy) - gradients.dbeta / statistics.n -
          XHat(x, statistics) * gradients.dgamma / statistics.n);
}

}  // namespace batchnorm::session::reference

#endif  // BATCHNORMD_TESTS_UNIT_SESSION_REFERENCE_H_
