// Exact sums as rows of doubles, for workers that sum by themselves: any of
// them can make and read such rows.
//
//   value[c] = sum over i of limbs[i * channels + c] * 2^scales[i], exactly.
//
// Pure functions, thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_SUM_LIMBS_H_
#define BATCHNORMD_SERVER_KERNEL_SUM_LIMBS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "server/kernel/channel_sums.h"

namespace batchnorm::kernel {

// Rows that are read where they lie, at any address.
class LimbsView {
 public:
  // REQUIRES: as many limbs as scales.size() * channels; at most kMaxLimbs
  // scales, |scale| <= kMaxLimbScale.
  LimbsView(std::span<const double> limbs, std::span<const std::int32_t> scales)
      : LimbsView(std::as_bytes(limbs), scales) {}
  LimbsView(std::span<const std::byte> limbs,
            std::span<const std::int32_t> scales)
      : limbs_(limbs.data()), scales_(scales) {}

  std::size_t size() const { return scales_.size(); }  // in rows
  std::int32_t scale(std::size_t row) const { return scales_[row]; }
  double limb(std::size_t index) const {
    double value = 0;
    std::memcpy(&value, address(index), sizeof(double));
    return value;
  }
  const std::byte* address(std::size_t index) const {
    return limbs_ + index * sizeof(double);
  }

 private:
  const std::byte* limbs_;
  std::span<const std::int32_t> scales_;
};

inline constexpr std::int32_t kMaxLimbScale = 1100;
inline constexpr std::size_t kMaxLimbs = 128;
inline constexpr int kLimbsBits = 7;  // of the number of limbs
static_assert(kMaxLimbs <= 1 << kLimbsBits);
// Integers that limbs are taken as are below 2^this, so that many can be
// merged.
inline constexpr int kLimbsRoom = 114;

struct SumLimbs {
  std::vector<double> limbs;
  std::vector<std::int32_t> scales;

  LimbsView view() const { return {std::span(limbs), scales}; }
};

// The sums of `count` values in each channel.
//
// Rounded sums may be of no numbers: then Q becomes S*S/n, rounded up to 53
// bits, and what is not finite becomes what Add makes of NaN and Inf. Sums that
// are exact are taken as they are. Empty if sums of no values are not 0, or if
// sums are beyond what doubles can sum to: multiples of 2^-1074 below 2^1088,
// and for products of 2^-2148 below 2^2112.
// REQUIRES: 0 <= count <= 2^50.
std::optional<ForwardSums> ForwardSumsOfLimbs(std::int64_t channels,
                                              std::int64_t count, LimbsView sum,
                                              LimbsView squares);

// Empty for sums beyond those limits.
std::optional<BackwardSums> BackwardSumsOfLimbs(std::int64_t channels,
                                                LimbsView sum_dy,
                                                LimbsView sum_dy_x);

// The other way, in as few rows as hold every bit; at least one. NaN and Inf
// are limbs themselves.
SumLimbs LimbsOfSum(const ForwardSums& sums);
SumLimbs LimbsOfSquares(const ForwardSums& sums);
SumLimbs LimbsOfSumDy(const BackwardSums& sums);
SumLimbs LimbsOfSumDyX(const BackwardSums& sums);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_SUM_LIMBS_H_
