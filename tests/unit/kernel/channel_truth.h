// What batch normalization of one channel is, from exact rationals.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_CHANNEL_TRUTH_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_CHANNEL_TRUTH_H_

#include <span>

#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel::truth {

// REQUIRES: x is finite and not empty.
struct ForwardTruth {
  ForwardTruth(std::span<const double> x, double eps);

  bool degenerate() const { return biased_var_plus_eps == 0; }

  Rational n;
  Rational mean;
  Rational var;
  Rational biased_var_plus_eps;
};

struct BackwardTruth {
  BackwardTruth(const ForwardTruth& forward, std::span<const double> x,
                std::span<const double> dy);

  // sign * sqrt(square) of dgamma, and whether it is negative.
  Rational dgamma_square;
  bool dgamma_is_negative;
  Rational dbeta;
  Rational mean_dy;
  Rational k;  // mean(dy * x_hat) * inv_std
};

// y and dx of the channel as reals. REQUIRES: not degenerate.
class ElementTruth {
 public:
  explicit ElementTruth(const ForwardTruth& forward);
  ElementTruth(const ForwardTruth& forward, const BackwardTruth& backward);

  Real XHat(double x) const { return (Real(x) - mean_) * inv_std_; }
  Real Y(double x, double gamma, double beta) const {
    return Real(gamma) * XHat(x) + Real(beta);
  }
  Real Dx(double x, double dy, double gamma) const;
  // |gamma| * inv_std * (|dy - mean dy| + |x_hat * mean(dy * x_hat)|): what
  // the error of dx is measured against.
  Real DxTerms(double x, double dy, double gamma) const;
  const Real& inv_std() const { return inv_std_; }

 private:
  Real mean_;
  Real inv_std_;
  Real mean_dy_;
  Real k_;
};

}  // namespace batchnorm::kernel::truth

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_CHANNEL_TRUTH_H_
