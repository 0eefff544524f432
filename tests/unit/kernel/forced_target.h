// Runs the kernel's vector code with the instructions of one target.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_

#include <hwy/targets.h>

#include <cstdint>

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

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_FORCED_TARGET_H_
