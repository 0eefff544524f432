#include "tests/service/wire_tensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace batchnorm::service_test {
namespace {

template <typename Element>
v1::Tensor Pack(v1::Dtype dtype, const std::vector<std::int64_t>& shape,
                const std::vector<Element>& values) {
  v1::Tensor tensor;
  tensor.set_dtype(dtype);
  for (const std::int64_t size : shape) tensor.add_shape(size);
  tensor.set_data(values.data(), values.size() * sizeof(Element));
  return tensor;
}

template <typename Element>
std::vector<Element> Unpack(v1::Dtype dtype, const v1::Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), dtype);
  std::vector<Element> values(tensor.data().size() / sizeof(Element));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  return values;
}

}  // namespace

v1::Tensor F64(const std::vector<std::int64_t>& shape,
               const std::vector<double>& values) {
  return Pack(v1::DTYPE_F64, shape, values);
}

v1::Tensor F32(const std::vector<std::int64_t>& shape,
               const std::vector<float>& values) {
  return Pack(v1::DTYPE_F32, shape, values);
}

v1::Tensor Channels(const std::vector<double>& values) {
  return F64({static_cast<std::int64_t>(values.size())}, values);
}

std::vector<double> F64Values(const v1::Tensor& tensor) {
  return Unpack<double>(v1::DTYPE_F64, tensor);
}

std::vector<float> F32Values(const v1::Tensor& tensor) {
  return Unpack<float>(v1::DTYPE_F32, tensor);
}

std::vector<std::int64_t> ShapeOf(const v1::Tensor& tensor) {
  return {tensor.shape().begin(), tensor.shape().end()};
}

std::vector<double> Noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values(size);
  for (double& value : values) {
    value = 1e-9 * static_cast<double>(
                       static_cast<std::int64_t>(random() % 4'000'000'000)) -
            2;
  }
  return values;
}

}  // namespace batchnorm::service_test
