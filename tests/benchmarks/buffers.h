// The memory that all peers of a run share, so that caches and pages treat
// them alike: allocated, filled and touched once.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_BUFFERS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_BUFFERS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "server/kernel/tensor_view.h"

namespace batchnorm::benchmark {

// Aligned to a cache line, readable and writable for one more behind the end.
class Buffer {
 public:
  explicit Buffer(std::int64_t bytes);

  template <typename T>
  T* As() const {
    return reinterpret_cast<T*>(memory_.get());
  }
  std::int64_t bytes() const { return bytes_; }

  kernel::TensorView View(kernel::Dtype dtype, std::int64_t size) const;
  kernel::MutableTensorView MutableView(kernel::Dtype dtype,
                                        std::int64_t size) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::int64_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

// What a layer reads: a batch and the gradient of its output.
struct Inputs {
  kernel::Dtype dtype;
  Buffer x;
  Buffer dy;
};

// Standard normal numbers in each format; and numbers in f32 whose magnitudes
// are log-uniform over 2^-60 .. 2^60, which no certificate covers.
struct Buffers {
  // Room for `size` values of f32, `paired_size` of the other kinds.
  Buffers(std::int64_t size, std::int64_t paired_size);

  Inputs f32;
  Inputs f16;
  Inputs bf16;
  Inputs wide;
  Buffer out;  // y or dx
};

// Parameters of a layer, as a trainer has them and as the kernel takes them.
struct Parameters {
  explicit Parameters(std::int64_t channels);

  std::vector<float> gamma;
  std::vector<float> beta;
  std::vector<double> wide_gamma;
  std::vector<double> wide_beta;
};

inline constexpr double kEps = 1e-5;

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_BUFFERS_H_
