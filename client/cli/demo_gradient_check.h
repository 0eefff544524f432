// The gradients of the service against numerical differentiation of its own y:
// for the loss sum(weights * y), how far are dx, dgamma and dbeta of Evaluate
// from what small changes of x, gamma and beta do to it? All in f64.
// Safe to call from any thread.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_GRADIENT_CHECK_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_GRADIENT_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace batchnorm::cli {

// One batch and where to differentiate; row-major, a row a sample.
struct GradientProbe {
  std::size_t rows = 0;
  std::size_t channels = 0;
  std::vector<double> x;        // rows x channels
  std::vector<double> weights;  // rows x channels
  std::vector<double> gamma;    // channels
  std::vector<double> beta;     // channels
};

// One gradient: how many of its elements were checked (all), and the largest
// difference as a fraction of the largest element.
struct GradientError {
  std::size_t elements = 0;
  double relative = 0;
};

struct GradientErrors {
  GradientError dx = {};
  GradientError dgamma = {};
  GradientError dbeta = {};
  std::int64_t evaluations = 0;  // calls of Evaluate that it took
};

// Differences are extrapolated (Richardson): they end near 1e-11, so that this
// leaves room for any batch and none for a wrong gradient.
inline constexpr double kGradientTolerance = 1e-8;

absl::StatusOr<GradientErrors> CheckGradients(const client::Client& client,
                                              const GradientProbe& probe);

// Whether every gradient is within kGradientTolerance.
bool Passes(const GradientErrors& errors);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_GRADIENT_CHECK_H_
