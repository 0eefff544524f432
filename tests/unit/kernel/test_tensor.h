// Owned tensors for the kernel's tests.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_TEST_TENSOR_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_TEST_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"

namespace batchnorm::kernel {

inline constexpr Dtype kDtypes[] = {Dtype::kF16, Dtype::kBF16, Dtype::kF32,
                                    Dtype::kF64};

std::string NameOf(Dtype dtype);

class TestTensor {
 public:
  // Zeros.
  TestTensor(Dtype dtype, std::int64_t size)
      : dtype_(dtype), bytes_(static_cast<std::size_t>(size) * SizeOf(dtype)) {}
  // The nearest elements to the values.
  TestTensor(Dtype dtype, std::span<const double> values);

  Dtype dtype() const { return dtype_; }
  TensorView view() const { return {dtype_, bytes_}; }
  MutableTensorView mutable_view() { return {dtype_, bytes_}; }
  // The elements [first, first + size).
  TensorView Slice(std::int64_t first, std::int64_t size) const;
  MutableTensorView MutableSlice(std::int64_t first, std::int64_t size);
  std::vector<double> values() const { return ToDoubles(view()); }

  bool operator==(const TestTensor&) const = default;

 private:
  Dtype dtype_;
  std::vector<std::byte> bytes_;
};

// Values as the dtype holds them.
std::vector<double> RoundedTo(Dtype dtype, std::span<const double> values);

// One tensor, its sums and what follows, in one call.
ForwardSums SumsOf(const ChannelLayout& layout, const TestTensor& x);
BackwardSums SumsOf(const ChannelLayout& layout, const TestTensor& x,
                    const TestTensor& dy);
TestTensor Normalize(const ChannelLayout& layout, const TestTensor& x,
                     const Statistics& statistics,
                     std::span<const double> gamma = {},
                     std::span<const double> beta = {});
TestTensor Differentiate(const ChannelLayout& layout, const TestTensor& x,
                         const TestTensor& dy, const Statistics& statistics,
                         const Gradients& gradients,
                         std::span<const double> gamma = {});

// Whether all bits agree, NaN and the sign of zero included.
bool SameBits(std::span<const double> a, std::span<const double> b);
bool SameBits(const Statistics& a, const Statistics& b);
bool SameBits(const Gradients& a, const Gradients& b);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_TEST_TENSOR_H_
