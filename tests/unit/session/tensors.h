// Tensors from numbers and numbers from tensors, for tests. bf16 values must be
// exact in it.
#ifndef BATCHNORMD_TESTS_UNIT_SESSION_TENSORS_H_
#define BATCHNORMD_TESTS_UNIT_SESSION_TENSORS_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/session/tensor.h"

namespace batchnorm::session {

using Shape = std::vector<std::int64_t>;

inline Tensor FromBytes(kernel::Dtype dtype, Shape shape, std::string bytes) {
  return {dtype, std::move(shape),
          std::make_shared<const std::string>(std::move(bytes))};
}

template <typename Bits>
void AppendBits(std::string& bytes, Bits bits) {
  char raw[sizeof(bits)];
  std::memcpy(raw, &bits, sizeof(bits));
  bytes.append(raw, sizeof(bits));
}

inline Tensor F64(Shape shape, const std::vector<double>& values) {
  std::string bytes;
  for (const double value : values) AppendBits(bytes, value);
  return FromBytes(kernel::Dtype::kF64, std::move(shape), bytes);
}

inline Tensor F32(Shape shape, const std::vector<double>& values) {
  std::string bytes;
  for (const double value : values) {
    AppendBits(bytes, static_cast<float>(value));
  }
  return FromBytes(kernel::Dtype::kF32, std::move(shape), bytes);
}

inline Tensor BF16(Shape shape, const std::vector<double>& values) {
  std::string bytes;
  for (const double value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    AppendBits(bytes, static_cast<std::uint16_t>(bits >> 16));
  }
  return FromBytes(kernel::Dtype::kBF16, std::move(shape), bytes);
}

template <typename T>
std::vector<double> Read(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return {values.begin(), values.end()};
}

// The numbers of an f32 or f64 tensor.
inline std::vector<double> Numbers(kernel::Dtype dtype,
                                   const std::string& bytes) {
  return dtype == kernel::Dtype::kF64 ? Read<double>(bytes)
                                      : Read<float>(bytes);
}

inline std::vector<double> Normals(std::size_t count, unsigned seed,
                                   double mean = 0, double sd = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(mean, sd);
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

}  // namespace batchnorm::session

#endif  // BATCHNORMD_TESTS_UNIT_SESSION_TENSORS_H_
