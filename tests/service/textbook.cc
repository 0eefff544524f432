#include "tests/service/textbook.h"

#include <cmath>

namespace batchnorm::service_test {
namespace {

long double Mean(const Matrix& x, std::size_t channel) {
  long double sum = 0;
  for (std::size_t row = 0; row < x.n; ++row) sum += x.at(row, channel);
  return sum / static_cast<long double>(x.n);
}

long double Var(const Matrix& x, std::size_t channel, long double mean) {
  long double sum = 0;
  for (std::size_t row = 0; row < x.n; ++row) {
    const long double d = x.at(row, channel) - mean;
    sum += d * d;
  }
  return sum / static_cast<long double>(x.n);
}

// The derivatives of y by the batch's own mean and variance are there if
// `of_batch`.
void Apply(const Matrix& x, std::size_t channel, long double mean,
           long double inv_std, double gamma, double beta,
           const std::vector<double>& dy, bool of_batch, Textbook& out) {
  const auto n = static_cast<long double>(x.n);
  const auto x_hat = [&](std::size_t row) {
    return (x.at(row, channel) - mean) * inv_std;
  };
  const auto at = [&](std::size_t row) { return row * x.channels + channel; };
  long double dbeta = 0;
  long double dgamma = 0;
  for (std::size_t row = 0; row < x.n; ++row) {
    out.y[at(row)] = static_cast<double>(gamma * x_hat(row) + beta);
    if (dy.empty()) continue;
    dbeta += dy[at(row)];
    dgamma += dy[at(row)] * x_hat(row);
  }
  if (dy.empty()) return;
  out.dbeta[channel] = static_cast<double>(dbeta);
  out.dgamma[channel] = static_cast<double>(dgamma);
  for (std::size_t row = 0; row < x.n; ++row) {
    const long double through_batch =
        of_batch ? dbeta / n + x_hat(row) * dgamma / n : 0;
    out.dx[at(row)] =
        static_cast<double>(gamma * inv_std * (dy[at(row)] - through_batch));
  }
}

Textbook Sized(const Matrix& x) {
  Textbook out;
  out.mean.resize(x.channels);
  out.var.resize(x.channels);
  out.inv_std.resize(x.channels);
  out.dgamma.resize(x.channels);
  out.dbeta.resize(x.channels);
  out.y.resize(x.values.size());
  out.dx.resize(x.values.size());
  return out;
}

}  // namespace

Textbook TrainByTextbook(const Matrix& x, const std::vector<double>& gamma,
                         const std::vector<double>& beta,
                         const std::vector<double>& dy, double eps) {
  Textbook out = Sized(x);
  for (std::size_t channel = 0; channel < x.channels; ++channel) {
    const long double mean = Mean(x, channel);
    const long double var = Var(x, channel, mean);
    const long double inv_std = 1 / std::sqrt(var + eps);
    out.mean[channel] = static_cast<double>(mean);
    out.var[channel] = static_cast<double>(var);
    out.inv_std[channel] = static_cast<double>(inv_std);
    Apply(x, channel, mean, inv_std, gamma[channel], beta[channel], dy, true,
          out);
  }
  return out;
}

Textbook InferByTextbook(const Matrix& x, const std::vector<double>& gamma,
                         const std::vector<double>& beta,
                         const std::vector<double>& dy,
                         const std::vector<double>& mean,
                         const std::vector<double>& var, double eps) {
  Textbook out = Sized(x);
  out.mean = mean;
  out.var = var;
  for (std::size_t channel = 0; channel < x.channels; ++channel) {
    const long double inv_std =
        1 / std::sqrt(static_cast<long double>(var[channel]) + eps);
    out.inv_std[channel] = static_cast<double>(inv_std);
    Apply(x, channel, mean[channel], inv_std, gamma[channel], beta[channel], dy,
          false, out);
  }
  return out;
}

}  // namespace batchnorm::service_test
