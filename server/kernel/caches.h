// How large tensors are that the caches hold: others are fetched ahead of their
// use, and written past the caches.
//
// What lies in a cache near by takes longer if it is fetched, what comes from
// memory up to twice as long if it is not. Where between the two a tensor lies
// depends on how much of the last cache is there for one core, which a machine
// does not say: it names the whole, which others share. So this goes by what
// was measured, on machines with AVX-512 (Zen 5), and on others (Zen 3, which
// names 32 MiB and hands over 5 MiB at the speed of memory). The second kind
// gains by it only where a pass goes through a tensor from end to end.
#ifndef BATCHNORMD_SERVER_KERNEL_CACHES_H_
#define BATCHNORMD_SERVER_KERNEL_CACHES_H_

#include <cstddef>

namespace batchnorm::kernel {

// Planes of channels, of which the next ones are fetched while some are
// applied: whether a tensor of so many bytes, or two of as many each, come from
// memory, and whether an output is written past the caches. dx shares them with
// two tensors, y with one.
inline bool ComesFromMemory(std::size_t bytes) {
  return bytes > std::size_t{12} << 20;
}
inline bool PairComesFromMemory(std::size_t bytes_each) {
  return bytes_each > std::size_t{17} << 19;
}
inline bool PlanesStreamOutput(std::size_t y_bytes) {
  return y_bytes >= std::size_t{6} << 20;
}
inline bool PlanesStreamGradient(std::size_t dx_bytes) {
  return dx_bytes >= std::size_t{5} << 20;
}

// The same of tensors that a pass goes through from end to end.
bool IsFetched(std::size_t bytes);
bool PairIsFetched(std::size_t bytes_each);
bool StreamsOutput(std::size_t y_bytes);
bool StreamsGradient(std::size_t dx_bytes);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_CACHES_H_
