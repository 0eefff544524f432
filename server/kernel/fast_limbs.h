// Rows of doubles with channels in SIMD lanes: what limb_block.h does to each
// row of a block. Rows lie at any address. Exact, where the processor rounds to
// nearest. Thread-safe on distinct outputs.
#ifndef BATCHNORMD_SERVER_KERNEL_FAST_LIMBS_H_
#define BATCHNORMD_SERVER_KERNEL_FAST_LIMBS_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace batchnorm::kernel {

// What some doubles have in common, by bits of doubles, which have the order of
// the magnitudes they are of.
struct LimbRange {
  std::uint64_t lowest_bit;  // no limb has a bit below; anything if all are 0
  std::uint64_t greatest;    // the greatest magnitude; NaN is above Inf
};

LimbRange RangeOfLimbs(const std::byte* limbs, std::size_t size);

// Integers of neighbouring channels: high * 2^kLimbLowBits + low each.
inline constexpr int kLimbLowBits = 52;
inline constexpr std::size_t kHalvesChannels = 64;
struct Halves {
  alignas(64) std::array<std::int64_t, kHalvesChannels> high{};
  alignas(64) std::array<std::int64_t, kHalvesChannels> low{};
};

// Adds limb i times a power of two to integer i. REQUIRES: the products are
// integers below 2^kLimbsRoom (sum_limbs.h), size <= kHalvesChannels.
void AddLimbs(const std::byte* limbs, std::size_t size, double power,
              Halves& integers);

// The same for limb i over 2^unit, if all of these are integers of at most
// 2^kQuickBits; else false, and anything added. One pass, and no conversion.
// REQUIRES: |unit| <= kMaxQuickUnit, size <= kHalvesChannels.
inline constexpr int kQuickBits = 51 + kLimbLowBits;
inline constexpr int kMaxQuickUnit = 900;
bool AddLimbsQuickly(const std::byte* limbs, std::size_t size, int unit,
                     Halves& integers);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FAST_LIMBS_H_
