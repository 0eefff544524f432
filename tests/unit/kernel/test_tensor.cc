#include "tests/unit/kernel/test_tensor.h"

#include <bit>
#include <cstring>

#include "server/kernel/floating_point_scope.h"
#include "server/kernel/tensor_blocks.h"

namespace batchnorm::kernel {

std::string NameOf(Dtype dtype) {
  constexpr const char* kNames[] = {"f16", "bf16", "f32", "f64"};
  return kNames[static_cast<std::size_t>(dtype)];
}

TestTensor::TestTensor(Dtype dtype, std::span<const double> values)
    : TestTensor(dtype, static_cast<std::int64_t>(values.size())) {
  const FloatingPointScope scope;
  WriteBlock(values, 0, mutable_view());
}

TensorView TestTensor::Slice(std::int64_t first, std::int64_t size) const {
  const std::size_t width = SizeOf(dtype_);
  return {dtype_,
          std::span(bytes_).subspan(static_cast<std::size_t>(first) * width,
                                    static_cast<std::size_t>(size) * width)};
}

MutableTensorView TestTensor::MutableSlice(std::int64_t first,
                                           std::int64_t size) {
  const std::size_t width = SizeOf(dtype_);
  return {dtype_,
          std::span(bytes_).subspan(static_cast<std::size_t>(first) * width,
                                    static_cast<std::size_t>(size) * width)};
}

std::vector<double> RoundedTo(Dtype dtype, std::span<const double> values) {
  return TestTensor(dtype, values).values();
}

ForwardSums SumsOf(const ChannelLayout& layout, const TestTensor& x) {
  ForwardSums sums(layout.channels(), x.dtype());
  sums.Add(layout, 0, x.view());
  return sums;
}

BackwardSums SumsOf(const ChannelLayout& layout, const TestTensor& x,
                    const TestTensor& dy) {
  BackwardSums sums(layout.channels(), x.dtype(), dy.dtype());
  sums.Add(layout, 0, x.view(), dy.view());
  return sums;
}

TestTensor Normalize(const ChannelLayout& layout, const TestTensor& x,
                     const Statistics& statistics,
                     std::span<const double> gamma,
                     std::span<const double> beta) {
  TestTensor y(x.dtype(), x.view().size());
  ApplyForward(layout, 0, x.view(), statistics, gamma, beta, y.mutable_view());
  return y;
}

TestTensor Differentiate(const ChannelLayout& layout, const TestTensor& x,
                         const TestTensor& dy, const Statistics& statistics,
                         const Gradients& gradients,
                         std::span<const double> gamma) {
  TestTensor dx(x.dtype(), x.view().size());
  ApplyBackward(layout, 0, x.view(), dy.view(), statistics, gradients, gamma,
                dx.mutable_view());
  return dx;
}

bool SameBits(std::span<const double> a, std::span<const double> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

bool SameBits(const Statistics& a, const Statistics& b) {
  return a.count == b.count && a.scale == b.scale && SameBits(a.mean, b.mean) &&
         SameBits(a.mean_lo, b.mean_lo) && SameBits(a.var, b.var) &&
         SameBits(a.inv_std, b.inv_std) &&
         SameBits(a.scaled_inv_std, b.scaled_inv_std) &&
         SameBits(a.scaled_mean_lo, b.scaled_mean_lo);
}

bool SameBits(const Gradients& a, const Gradients& b) {
  return SameBits(a.dgamma, b.dgamma) && SameBits(a.dbeta, b.dbeta) &&
         SameBits(a.mean_dy, b.mean_dy) &&
         SameBits(a.mean_dy_lo, b.mean_dy_lo) && SameBits(a.k, b.k);
}

}  // namespace batchnorm::kernel
