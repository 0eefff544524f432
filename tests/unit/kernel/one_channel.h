// Batches of one channel, for tests of single cases.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_ONE_CHANNEL_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_ONE_CHANNEL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {

// The values of one channel with what is computed from them.
class OneChannel {
 public:
  OneChannel(Dtype dtype, const std::vector<double>& x,
             Degenerate degenerate = Degenerate::kIeee)
      : degenerate_(degenerate),
        layout_(std::vector{static_cast<std::int64_t>(x.size())},
                std::vector<int>{}),
        x_(dtype, x),
        sums_(SumsOf(layout_, x_)) {}

  const ChannelLayout& layout() const { return layout_; }
  const TestTensor& x() const { return x_; }
  const ForwardSums& sums() const { return sums_; }

  Statistics Train(double eps) const {
    return FinishForward(sums_, eps, degenerate_);
  }
  std::vector<double> Y(double eps, double gamma = 1, double beta = 0) const {
    return Y(Train(eps), gamma, beta);
  }
  std::vector<double> Y(const Statistics& s, double gamma, double beta) const {
    return Normalize(layout_, x_, s, std::vector{gamma}, std::vector{beta})
        .values();
  }
  TestTensor Dy(const std::vector<double>& dy) const {
    return TestTensor(x_.dtype(), dy);
  }
  Gradients Backward(const std::vector<double>& dy, double eps) const {
    return FinishBackward(sums_, SumsOf(layout_, x_, Dy(dy)), eps, degenerate_);
  }
  std::vector<double> Dx(const std::vector<double>& dy, double eps,
                         double gamma = 1) const {
    return Differentiate(layout_, x_, Dy(dy), Train(eps), Backward(dy, eps),
                         std::vector{gamma})
        .values();
  }

  struct Running {
    double mean;
    double var;
    std::int64_t batch_count;

    bool operator==(const Running&) const = default;
  };
  Running Update(Running running, std::optional<double> new_weight,
                 int ddof) const {
    UpdateRunning(sums_, {new_weight, ddof}, degenerate_,
                  std::span(&running.mean, 1), std::span(&running.var, 1),
                  running.batch_count);
    return running;
  }

 private:
  Degenerate degenerate_;
  ChannelLayout layout_;
  TestTensor x_;
  ForwardSums sums_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_ONE_CHANNEL_H_
