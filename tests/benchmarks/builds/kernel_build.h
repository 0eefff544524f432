// One build of the kernel as a shared object, which compare_builds loads.
//
// Plain types only, so that builds of different revisions can be compared.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_BUILDS_KERNEL_BUILD_H_
#define BATCHNORMD_TESTS_BENCHMARKS_BUILDS_KERNEL_BUILD_H_

#include <cstdint>

extern "C" {

// A tensor (before, channels, after) in TRAIN mode.
struct BnProblem {
  int dtype;  // kernel::Dtype
  std::int64_t before;
  std::int64_t channels;
  std::int64_t after;
  bool is_forward;
  int threads;
  const void* x;
  const void* dy;       // not read forward
  void* out;            // y or dx
  const double* gamma;  // `channels`
  const double* beta;
};

// What is kept from call to call: threads, and the batch for a backward.
struct BnLayer;

BnLayer* BnMakeLayer(const BnProblem* problem);
void BnCall(BnLayer* layer);
void BnFreeLayer(BnLayer* layer);

}  // extern "C"

#endif  // BATCHNORMD_TESTS_BENCHMARKS_BUILDS_KERNEL_BUILD_H_
