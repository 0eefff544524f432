// Batch normalization in the derivation's own notation: matrices of N examples
// by C channels, J a row of ones. README.md, "Matrix form", eq. 20-27.
//
// Short enough to be checked by eye, and independent of the exact sums; the
// tests hold the kernel against it. Plain double arithmetic, so good for
// well-conditioned data only; nothing serves requests with it. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_MATRIX_FORM_H_
#define BATCHNORMD_SERVER_KERNEL_MATRIX_FORM_H_

#include <Eigen/Core>

namespace batchnorm::kernel::matrix_form {

using Matrix = Eigen::MatrixXd;  // N x C
using Row = Eigen::RowVectorXd;  // 1 x C

struct Forward {
  Row mu;
  Row var;
  Row inv_std;
  Matrix x_hat;
  Matrix y;
};

struct Backward {
  Row grad_beta;
  Row grad_gamma;
  Matrix grad_x;
};

// REQUIRES (all): N > 0; gamma and beta have C entries.
Forward ComputeForward(const Matrix& x, const Row& gamma, const Row& beta,
                       double eps);

// The gradients of a loss whose gradient by y is grad_y.
Backward ComputeBackward(const Forward& forward, const Matrix& grad_y,
                         const Row& gamma);

}  // namespace batchnorm::kernel::matrix_form

#endif  // BATCHNORMD_SERVER_KERNEL_MATRIX_FORM_H_
