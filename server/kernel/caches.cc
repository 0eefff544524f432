#include "server/kernel/caches.h"

#include <hwy/targets.h>

namespace batchnorm::kernel {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kLeastFetched = 3 * kMiB;
constexpr std::size_t kLeastStreamed = 4 * kMiB;

bool HasLargeCaches() {
  static const bool has = (hwy::SupportedTargets() & HWY_AVX3) != 0;
  return has;
}

}  // namespace

bool IsFetched(std::size_t bytes) {
  return HasLargeCaches() ? ComesFromMemory(bytes) : bytes > kLeastFetched;
}

bool PairIsFetched(std::size_t bytes_each) {
  return HasLargeCaches() ? PairComesFromMemory(bytes_each)
                          : bytes_each > kLeastFetched;
}

bool StreamsOutput(std::size_t y_bytes) {
  return HasLargeCaches() ? PlanesStreamOutput(y_bytes)
                          : y_bytes >= kLeastStreamed;
}

bool StreamsGradient(std::size_t dx_bytes) {
  return HasLargeCaches() ? PlanesStreamGradient(dx_bytes)
                          : dx_bytes >= kLeastStreamed;
}

}  // namespace batchnorm::kernel
