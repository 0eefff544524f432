// The sums of a batch, an element after the other: what the vector code is held
// against. ExactSum itself is held against big integers in exact_sum_test.cc.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_READABLE_SUMS_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_READABLE_SUMS_H_

#include <gtest/gtest.h>

#include <vector>

#include "server/kernel/channel_sums.h"

namespace batchnorm::kernel {

struct ReadableSums {
  ReadableSums(const ChannelLayout& layout, const std::vector<double>& a,
               const std::vector<double>& b);

  std::vector<ExactSum> sum;       // of a
  std::vector<ExactSum> products;  // of a*b
};

// Whether every channel has these very sums, NaN and infinities included.
testing::AssertionResult Has(const ForwardSums& actual,
                             const ReadableSums& expected);
testing::AssertionResult Has(const BackwardSums& actual,
                             const ReadableSums& expected);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_READABLE_SUMS_H_
