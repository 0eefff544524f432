#include "tests/benchmarks/buffers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <random>

#include "server/kernel/float_formats.h"

namespace batchnorm::benchmark {
namespace {

using kernel::Dtype;

constexpr std::int64_t kLine = 64;

// So many different values, repeated: a prime, which no shape is in step with.
constexpr std::int64_t kPeriod = 1000003;

std::vector<float> Normal(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(kPeriod);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> LogUniform(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> exponent(-60, 60);
  std::vector<float> values(kPeriod);
  for (float& value : values) {
    const float magnitude = std::exp2(exponent(random));
    value = (random() & 1) != 0 ? magnitude : -magnitude;
  }
  return values;
}

void Store(float value, Dtype dtype, std::byte* to) {
  if (dtype == Dtype::kF32) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  const std::uint16_t bits = dtype == Dtype::kF16
                                 ? kernel::NarrowToF16(double{value})
                                 : kernel::NarrowToBF16(double{value});
  std::memcpy(to, &bits, sizeof bits);
}

void Fill(const std::vector<float>& values, Dtype dtype, const Buffer& buffer) {
  const auto width = static_cast<std::int64_t>(kernel::SizeOf(dtype));
  std::vector<std::byte> period(static_cast<std::size_t>(kPeriod * width));
  for (std::int64_t i = 0; i < kPeriod; ++i) {
    Store(values[static_cast<std::size_t>(i)], dtype,
          period.data() + i * width);
  }
  const auto step = static_cast<std::int64_t>(period.size());
  for (std::int64_t at = 0; at < buffer.bytes(); at += step) {
    std::memcpy(buffer.As<std::byte>() + at, period.data(),
                static_cast<std::size_t>(std::min(step, buffer.bytes() - at)));
  }
}

using Generator = std::vector<float> (*)(unsigned seed);

Inputs MakeInputs(Dtype dtype, std::int64_t size, Generator generate) {
  const auto bytes = size * static_cast<std::int64_t>(kernel::SizeOf(dtype));
  Inputs inputs{dtype, Buffer(bytes), Buffer(bytes)};
  Fill(generate(1), dtype, inputs.x);
  Fill(generate(2), dtype, inputs.dy);
  return inputs;
}

}  // namespace

Buffer::Buffer(std::int64_t bytes) : bytes_(bytes) {
  const auto lines = static_cast<std::size_t>((bytes + kLine - 1) / kLine + 1);
  memory_.reset(
      static_cast<std::byte*>(std::aligned_alloc(kLine, lines * kLine)));
  if (!memory_) throw std::bad_alloc();
  std::memset(memory_.get(), 0, lines * kLine);
}

kernel::TensorView Buffer::View(Dtype dtype, std::int64_t size) const {
  const auto bytes = static_cast<std::size_t>(size) * kernel::SizeOf(dtype);
  return {dtype, {memory_.get(), bytes}};
}

kernel::MutableTensorView Buffer::MutableView(Dtype dtype,
                                              std::int64_t size) const {
  const auto bytes = static_cast<std::size_t>(size) * kernel::SizeOf(dtype);
  return {dtype, {memory_.get(), bytes}};
}

Buffers::Buffers(std::int64_t size, std::int64_t paired_size)
    : f32(MakeInputs(Dtype::kF32, size, Normal)),
      f16(MakeInputs(Dtype::kF16, paired_size, Normal)),
      bf16(MakeInputs(Dtype::kBF16, paired_size, Normal)),
      wide(MakeInputs(Dtype::kF32, paired_size, LogUniform)),
      out(size * static_cast<std::int64_t>(sizeof(float))) {}

Parameters::Parameters(std::int64_t channels) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> around_one(0.5F, 1.5F);
  for (std::int64_t c = 0; c < channels; ++c) {
    gamma.push_back(around_one(random));
    beta.push_back(around_one(random) - 1);
  }
  wide_gamma.assign(gamma.begin(), gamma.end());
  wide_beta.assign(beta.begin(), beta.end());
}

}  // namespace batchnorm::benchmark
