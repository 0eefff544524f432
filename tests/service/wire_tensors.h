// Tensors as messages, and the numbers in them.
#ifndef BATCHNORMD_TESTS_SERVICE_WIRE_TENSORS_H_
#define BATCHNORMD_TESTS_SERVICE_WIRE_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "batchnorm/v1/tensor.pb.h"

namespace batchnorm::service_test {

v1::Tensor F64(const std::vector<std::int64_t>& shape,
               const std::vector<double>& values);
v1::Tensor F32(const std::vector<std::int64_t>& shape,
               const std::vector<float>& values);

// A vector of shape [values.size()].
v1::Tensor Channels(const std::vector<double>& values);

// Fails the test if the dtype is another.
std::vector<double> F64Values(const v1::Tensor& tensor);
std::vector<float> F32Values(const v1::Tensor& tensor);
std::vector<std::int64_t> ShapeOf(const v1::Tensor& tensor);

// Numbers that differ from call site to call site, the same in every run.
std::vector<double> Noise(std::size_t size, std::uint64_t seed);

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_WIRE_TENSORS_H_
