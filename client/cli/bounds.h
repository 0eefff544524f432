// How far a decent kernel may be from the truth: the default bounds of
// `bn compare`. README.md derives them; in short, with eps the epsilon of the
// computing type (f64 for f64 tensors, else f32) and g = 4 + sqrt(n) / 64:
//
//   d_mean   g eps mean|x|
//   d_var    g eps var + min(4 eps mean|x| sqrt(var / n) + d_mean^2,
//                            (var + eps0) / 16)
//   r        4 eps + d_var inv_std^2 / 2              of inv_std, relative
//   d_x_hat  r |x_hat| + min(d_mean inv_std, 1/16)
//
//            magnitude                                slack
//   y        max(|y|, |gamma x_hat|, |beta|)          |gamma| d_x_hat
//   dbeta    |dbeta|                                  g eps sum|dy|
//   dgamma   |dgamma|                                 d_dgamma
//   dx       |gamma| inv_std T                        |gamma| inv_std *
//              (r T + g eps mean|dy| + |x_hat| d_dgamma/n
//               + d_x_hat |mean(dy x_hat)|)
//
// where d_dgamma = (g eps + r) sum|dy x_hat| + min(d_mean inv_std, 1/16)|dbeta|
// and T = |dy - mean dy| + |x_hat mean(dy x_hat)|. By running statistics only
// dgamma and dbeta are sums; then d_mean = 4 eps |mean|, d_var = 0, T = |dy|.
#ifndef BATCHNORMD_CLIENT_CLI_BOUNDS_H_
#define BATCHNORMD_CLIENT_CLI_BOUNDS_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "client/cli/comparison.h"
#include "client/cli/tensor_role.h"
#include "client/types.h"
#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// The inputs of one evaluation and its true results, from which the truth about
// every tensor follows, with its bounds. Immutable after construction, and then
// thread-safe.
class TruthOfBatch {
 public:
  // REQUIRES: `result` is the answer to `args` and has statistics; dgamma and
  // dbeta too if args.dy is there.
  TruthOfBatch(const client::EvaluateArgs& args, client::EvaluateResult result);
  ~TruthOfBatch();

  // What is true of `role`, and bounds for elements of type `dtype`; empty if
  // the evaluation did not give it. Valid as long as this object is.
  std::optional<Expected> Expect(Role role, Dtype dtype) const;

  // The greatest mean|x| * inv_std of a channel: how many times the rounding of
  // a mean is magnified in x_hat. 0 without channels.
  double Condition() const;

 private:
  struct Batch;
  std::unique_ptr<const Batch> batch_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_BOUNDS_H_
