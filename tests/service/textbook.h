// Batch normalization as the textbook has it, in long double, for x of shape
// [n, channels]: the truth that the service's numbers are compared with.
#ifndef BATCHNORMD_TESTS_SERVICE_TEXTBOOK_H_
#define BATCHNORMD_TESTS_SERVICE_TEXTBOOK_H_

#include <gmock/gmock.h>

#include <cmath>
#include <cstddef>
#include <vector>

namespace batchnorm::service_test {

// Row-major [n, channels].
struct Matrix {
  std::size_t n;
  std::size_t channels;
  std::vector<double> values;

  double at(std::size_t row, std::size_t channel) const {
    return values[row * channels + channel];
  }
};

struct Textbook {
  std::vector<double> mean;
  std::vector<double> var;  // sum((x - mean)^2) / n
  std::vector<double> inv_std;
  std::vector<double> y;
  std::vector<double> dgamma;
  std::vector<double> dbeta;
  std::vector<double> dx;
};

// dy may be empty: then the gradients are.
Textbook TrainByTextbook(const Matrix& x, const std::vector<double>& gamma,
                         const std::vector<double>& beta,
                         const std::vector<double>& dy, double eps);

// With given statistics: their derivatives are 0.
Textbook InferByTextbook(const Matrix& x, const std::vector<double>& gamma,
                         const std::vector<double>& beta,
                         const std::vector<double>& dy,
                         const std::vector<double>& mean,
                         const std::vector<double>& var, double eps);

// For Pointwise(NearlyEqual(), truth): both sides are rounded to double, after
// some 1e-18 of numbers of order 1.
MATCHER(NearlyEqual, "") {
  const double truth = std::get<1>(arg);
  return ::testing::ExplainMatchResult(
      ::testing::DoubleNear(truth, 1e-13 * (1 + std::abs(truth))),
      std::get<0>(arg), result_listener);
}

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_TEXTBOOK_H_
