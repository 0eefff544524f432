// Batch normalization of f32 with plain sums in f64: what exactness is
// compared with. Here what both of its loops share.
//
// The loops are those of the exact kernel (the blocking, the prefetching, the
// streaming stores), with nothing in them that makes a sum exact: S, Q, D and P
// are rounded at every step, mean and variance follow the textbook, and apply
// is one or two fused multiply-adds a value.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_PLAIN_LAYER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_PLAIN_LAYER_H_

#include <cstdint>
#include <vector>

namespace batchnorm::benchmark {

// What fits where, in values.
inline constexpr std::int64_t kRunValues = 4096;       // a buffer in L1
inline constexpr std::int64_t kCacheValues = 1 << 18;  // half an L2
inline constexpr std::int64_t kMaxGroup = 16;          // channels at a time

// REQUIRES: `out` is aligned to a cache line; the arrays can be read to the
// next cache line after their end.
struct PlainBatch {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t pixels;
  bool is_forward;
  const float* x;
  const float* dy;  // forward: x again, and not read
  float* out;       // y or dx

  std::int64_t size() const { return batch * channels * pixels; }
  // Values that so many channels read.
  std::int64_t ValuesOf(std::int64_t some_channels) const {
    return (is_forward ? 1 : 2) * batch * some_channels * pixels;
  }
  double count() const { return static_cast<double>(batch * pixels); }
  // Whether the output is too large to be worth a place in the cache.
  bool is_streamed() const { return size() * 4 > std::int64_t{6} << 20; }
};

// A channel's numbers. Forward sets the statistics, backward reads them.
struct PlainLayer {
  explicit PlainLayer(std::int64_t channels);

  double eps = 0;
  std::vector<double> gamma;
  std::vector<double> beta;
  std::vector<double> mean;
  std::vector<double> inv_std;
  std::vector<double> dgamma;
  std::vector<double> dbeta;
};

// What apply reads: y = scale*x + offset; dx = scale*dy + (slope*x + offset).
struct Affine {
  double scale = 0;
  double slope = 0;
  double offset = 0;
};

// From S and Q, or D and P, of one channel.
Affine FinishPlain(const PlainBatch& batch, std::int64_t channel, double sum,
                   double products, PlainLayer& layer);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_PLAIN_LAYER_H_
