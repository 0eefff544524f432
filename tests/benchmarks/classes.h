// Kinds of problems that are summed up together.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_CLASSES_H_
#define BATCHNORMD_TESTS_BENCHMARKS_CLASSES_H_

#include <span>

#include "tests/benchmarks/shapes.h"

namespace batchnorm::benchmark {

struct Class {
  const char* name;
  bool (*contains)(const Problem& problem);
};

// NCHW and NHWC have several pixels a channel, N x C has one.
extern const Class kOver64KiB;
extern const Class kOver1MiB;
extern const Class kOver16MiB;
extern const Class kNchw;         // over 64 KiB, as all that name no size
extern const Class kNhwc;         //
extern const Class kNhwcAndNc;    //
extern const Class kLargePlanes;  // NCHW over 16 MiB, planes from 784 pixels
extern const Class kSmallPlanes;  // NCHW over 16 MiB, smaller planes
extern const Class kLargeRows;    // NHWC over 16 MiB
extern const Class kNc4096x512;   // the case of the derivation
extern const Class kNc32x64;      // 8 KiB

std::span<const Class* const> AllClasses();

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_CLASSES_H_
