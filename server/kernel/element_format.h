// The four element formats, as compile-time facts for the vector code.
#ifndef BATCHNORMD_SERVER_KERNEL_ELEMENT_FORMAT_H_
#define BATCHNORMD_SERVER_KERNEL_ELEMENT_FORMAT_H_

#include <cstdint>

#include "server/kernel/tensor_view.h"

namespace batchnorm::kernel {

template <Dtype kDtype>
struct ElementFormat;

template <>
struct ElementFormat<Dtype::kF16> {
  using Bits = std::uint16_t;
  static constexpr int kPrecision = 11;  // significand bits, the hidden one too
  static constexpr int kBias = 15;
};

template <>
struct ElementFormat<Dtype::kBF16> {
  using Bits = std::uint16_t;
  static constexpr int kPrecision = 8;
  static constexpr int kBias = 127;
};

template <>
struct ElementFormat<Dtype::kF32> {
  using Bits = std::uint32_t;
  static constexpr int kPrecision = 24;
  static constexpr int kBias = 127;
};

template <>
struct ElementFormat<Dtype::kF64> {
  using Bits = std::uint64_t;
  static constexpr int kPrecision = 53;
  static constexpr int kBias = 1023;
};

// The bits of an element.
template <Dtype kDtype>
using BitsOf = typename ElementFormat<kDtype>::Bits;

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_ELEMENT_FORMAT_H_
