#include "server/kernel/tensor_blocks.h"

#include <bit>
#include <cassert>
#include <cstring>

#include "server/kernel/float_formats.h"

namespace batchnorm::kernel {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are little-endian and are read as they are");

double SameF32(float value) { return double{value}; }
double SameF64(double value) { return value; }

// `Element` is the format's bits; tensors need no alignment, hence memcpy.
template <typename Element, double (*kWiden)(Element)>
void Read(const std::byte* from, std::span<double> values) {
  for (double& value : values) {
    Element element;
    std::memcpy(&element, from, sizeof(element));
    value = kWiden(element);
    from += sizeof(element);
  }
}

template <typename Element, Element (*kNarrow)(double)>
void Write(std::span<const double> values, std::byte* to) {
  for (const double value : values) {
    const Element element = kNarrow(value);
    std::memcpy(to, &element, sizeof(element));
    to += sizeof(element);
  }
}

std::size_t ByteOffset(std::int64_t first, Dtype dtype) {
  return static_cast<std::size_t>(first) * SizeOf(dtype);
}

}  // namespace

void ReadBlock(TensorView tensor, std::int64_t first,
               std::span<double> values) {
  const std::size_t offset = ByteOffset(first, tensor.dtype);
  assert(offset + values.size() * SizeOf(tensor.dtype) <= tensor.bytes.size());
  const std::byte* from = tensor.bytes.data() + offset;
  switch (tensor.dtype) {
    case Dtype::kF16:
      return Read<std::uint16_t, WidenF16>(from, values);
    case Dtype::kBF16:
      return Read<std::uint16_t, WidenBF16>(from, values);
    case Dtype::kF32:
      return Read<float, SameF32>(from, values);
    case Dtype::kF64:
      return Read<double, SameF64>(from, values);
  }
}

void WriteBlock(std::span<const double> values, std::int64_t first,
                MutableTensorView tensor) {
  const std::size_t offset = ByteOffset(first, tensor.dtype);
  assert(offset + values.size() * SizeOf(tensor.dtype) <= tensor.bytes.size());
  std::byte* to = tensor.bytes.data() + offset;
  switch (tensor.dtype) {
    case Dtype::kF16:
      return Write<std::uint16_t, NarrowToF16>(values, to);
    case Dtype::kBF16:
      return Write<std::uint16_t, NarrowToBF16>(values, to);
    case Dtype::kF32:
      return Write<float, NarrowToF32>(values, to);
    case Dtype::kF64:
      return Write<double, Canonical>(values, to);
  }
}

}  // namespace batchnorm::kernel
