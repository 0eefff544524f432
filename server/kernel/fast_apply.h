// The apply passes over a box, by the best instructions this machine has.
//
// README.md, eq. 18 and 19, in their order of operations: the bits are those of
// apply_forward.cc and apply_backward.cc on every machine. Traffic: reads x
// (and dy) once, writes once, past the caches where told to. Boxes of distinct
// elements may be applied from several threads at once.
// REQUIRES: a FloatingPointScope; scale 0 in all channels of the box.
#ifndef BATCHNORMD_SERVER_KERNEL_FAST_APPLY_H_
#define BATCHNORMD_SERVER_KERNEL_FAST_APPLY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "server/kernel/box.h"
#include "server/kernel/tensor_view.h"

namespace batchnorm::kernel {

// What the passes read of each channel, with room for a vector behind the last
// one. Forward needs the first four only, inference backward only gain; the
// others may be empty. Movable only: the rows are parts of `numbers`.
struct Coefficients {
  Coefficients() = default;
  Coefficients(Coefficients&&) = default;
  Coefficients& operator=(Coefficients&&) = default;

  std::span<double> mean;
  std::span<double> mean_lo;
  std::span<double> gain;  // gamma * inv_std
  std::span<double> beta;
  std::span<double> mean_dy;
  std::span<double> mean_dy_lo;
  std::span<double> k;

  std::vector<double> numbers;
};

// Whether some coefficient of channels [first, end) is infinite or NaN.
bool AnyIsNotFinite(const Coefficients& coefficients, std::size_t first,
                    std::size_t end);

struct ApplyOptions {
  // The output is larger than the caches and not read soon.
  bool streams = false;
  // Some x, dy or coefficient may be infinite or NaN.
  bool may_be_nan = true;
  // How many elements ahead of those at work others will be read soon, which
  // are fetched into the second-level cache meanwhile. 0: none, since they are
  // in a cache.
  std::int64_t ahead = 2048;
};

enum class Formula : std::uint8_t {
  kForward,            // y of eq. 18, from x
  kBackward,           // dx of eq. 19, from x and dy
  kInferenceBackward,  // dx of eq. 13, from dy
};

// Tensors of one dtype, or the same part of each; those that a formula does not
// read are not looked at. `out` may be x or dy.
struct ApplyTensors {
  Dtype dtype;
  const std::byte* x;
  const std::byte* dy;
  std::byte* out;
};

// Offsets of the box count from the first element of the tensors.
void ApplyBox(Formula formula, const ApplyTensors& tensors, const Box& box,
              const Coefficients& coefficients, ApplyOptions options);

// The same of one formula: in files of their own, which take long to compile.
void ApplyForwardBox(const ApplyTensors& tensors, const Box& box,
                     const Coefficients& coefficients, ApplyOptions options);
void ApplyBackwardBox(const ApplyTensors& tensors, const Box& box,
                      const Coefficients& coefficients, ApplyOptions options);
void ApplyInferenceBackwardBox(const ApplyTensors& tensors, const Box& box,
                               const Coefficients& coefficients,
                               ApplyOptions options);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FAST_APPLY_H_
