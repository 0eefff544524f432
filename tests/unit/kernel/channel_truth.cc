#include "tests/unit/kernel/channel_truth.h"

namespace batchnorm::kernel::truth {

ForwardTruth::ForwardTruth(std::span<const double> x, double eps)
    : n(static_cast<unsigned long>(x.size())),
      mean(Sum(x) / n),
      var(SumOfProducts(x, x) / n - mean * mean),
      biased_var_plus_eps(var + Exact(eps)) {}

BackwardTruth::BackwardTruth(const ForwardTruth& forward,
                             std::span<const double> x,
                             std::span<const double> dy)
    : dbeta(Sum(dy)), mean_dy(dbeta / forward.n) {
  // sum(dy * (x - mean)), whose quotient by the standard deviation is dgamma.
  const Rational projection = SumOfProducts(dy, x) - forward.mean * dbeta;
  dgamma_is_negative = projection < 0;
  if (forward.degenerate()) return;
  dgamma_square = projection * projection / forward.biased_var_plus_eps;
  k = projection / forward.n / forward.biased_var_plus_eps;
}

ElementTruth::ElementTruth(const ForwardTruth& forward)
    : mean_(forward.mean),
      inv_std_(Real(1) / Sqrt(Real(forward.biased_var_plus_eps))) {}

ElementTruth::ElementTruth(const ForwardTruth& forward,
                           const BackwardTruth& backward)
    : ElementTruth(forward) {
  mean_dy_ = Real(backward.mean_dy);
  k_ = Real(backward.k);
}

Real ElementTruth::Dx(double x, double dy, double gamma) const {
  return Real(gamma) * inv_std_ *
         ((Real(dy) - mean_dy_) - (Real(x) - mean_) * k_);
}

Real ElementTruth::DxTerms(double x, double dy, double gamma) const {
  return Abs(Real(gamma)) * inv_std_ *
         (Abs(Real(dy) - mean_dy_) + Abs((Real(x) - mean_) * k_));
}

}  // namespace batchnorm::kernel::truth
