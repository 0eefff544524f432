// How large tensors are that the caches hold: others are fetched ahead of their
// use, and written past the caches.
//
// What lies in a cache near by takes longer if it is fetched, what comes from
// memory up to twice as long if it is not. Where between the two a tensor lies
// depends on how much of the last cache is there for one core, which a machine
// does not say: it names the whole, which others share. So this goes by what
// was measured, on machines with AVX-512 (Zen 5), and on others (Zen 3, which
// names 32 MiB and hands over 5 MiB at the speed of memory).
#ifndef BATCHNORMD_SERVER_KERNEL_CACHES_H_
#define BATCHNORMD_SERVER_KERNEL_CACHES_H_

#include <cstddef>

namespace batchnorm::kernel {

// Whether a tensor of so many bytes, or two of as many each, come from memory
// on every machine. Planes of channels, of which the next ones are fetched
// while some are applied, are told by this.
inline bool ComesFromMemory(std::size_t bytes) {
  return bytes > std::size_t{12} << 20;
}
inline bool PairComesFromMemory(std::size_t bytes_each) {
  return bytes_each > std::size_t{17} << 19;
}

// Whether tensors that are gone through from end to end are fetched ahead.
bool IsFetched(std::size_t bytes);
bool PairIsFetched(std::size_t bytes_each);

// Whether an output of so many bytes is written past the caches. dx shares them
// with two tensors, y with one.
bool StreamsOutput(std::size_t y_bytes);
bool StreamsGradient(std::size_t dx_bytes);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CACHES_H_
