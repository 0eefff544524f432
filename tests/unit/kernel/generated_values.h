// Values that vector code is likely to get wrong, by name.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_GENERATED_VALUES_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_GENERATED_VALUES_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "tests/unit/kernel/hard_batches.h"

namespace batchnorm::kernel {

struct Generator {
  std::string name;
  // The i-th of `size` values.
  std::function<double(std::size_t i, std::size_t size, Random& random)> value;
};

// Of every magnitude and mixture: certified, spilled, wrongly predicted.
const std::vector<Generator>& Generators();

std::vector<double> Generate(const Generator& generator, std::size_t size,
                             Random& random);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_GENERATED_VALUES_H_
