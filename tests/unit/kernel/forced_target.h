// Runs the kernel's vector code with the instructions of one target.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>
#include <tuple>

#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {

class ForcedTarget {
 public:
  explicit ForcedTarget(std::int64_t target) { Choose(target); }
  ~ForcedTarget() { Choose(0); }  // the best there is, again

  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;

 private:
  static void Choose(std::int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// Of a test that runs for each target and dtype.
inline std::string NameOfTargetAndDtype(
    const testing::TestParamInfo<std::tuple<std::int64_t, Dtype>>& info) {
  return std::string(hwy::TargetName(std::get<0>(info.param))) + "_" +
         NameOf(std::get<1>(info.param));
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_
