#include "server/kernel/matrix_form.h"

namespace batchnorm::kernel::matrix_form {
namespace {

// J, which sums columns by multiplying from the left.
Row Ones(Eigen::Index n) { return Row::Ones(n); }

}  // namespace

Forward ComputeForward(const Matrix& x, const Row& gamma, const Row& beta,
                       double eps) {
  const auto n = static_cast<double>(x.rows());
  const Row J = Ones(x.rows());
  Forward f;
  f.mu = J * x / n;  // eq. 20
  const Matrix centered = x - J.transpose() * f.mu;
  f.var = J * centered.cwiseProduct(centered) / n;            // eq. 21
  f.inv_std = (f.var.array() + eps).sqrt().inverse();         // eq. 22
  f.x_hat = centered * f.inv_std.asDiagonal();                // eq. 23
  f.y = f.x_hat * gamma.asDiagonal() + J.transpose() * beta;  // eq. 24
  return f;
}

Backward ComputeBackward(const Forward& f, const Matrix& grad_y,
                         const Row& gamma) {
  const auto n = static_cast<double>(grad_y.rows());
  const Row J = Ones(grad_y.rows());
  Backward b;
  b.grad_beta = J * grad_y;                               // eq. 25
  b.grad_gamma = J * f.x_hat.cwiseProduct(grad_y);        // eq. 26
  b.grad_x = (grad_y - J.transpose() * b.grad_beta / n -  // eq. 27
              f.x_hat * b.grad_gamma.asDiagonal() / n) *
             gamma.cwiseProduct(f.inv_std).asDiagonal();
  return b;
}

}  // namespace batchnorm::kernel::matrix_form
