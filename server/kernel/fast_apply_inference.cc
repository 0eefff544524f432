// dx of eq. 13.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_apply_inference.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, and in this order.
#include <hwy/highway.h>

#include "server/kernel/apply_formula-inl.h"
#include "server/kernel/fast_apply.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

void ApplyInferenceBackwardBoxOn(const ApplyTensors& tensors, const Box& box,
                                 const Coefficients& c, ApplyOptions options) {
  ApplyFormula<Formula::kInferenceBackward>(tensors, box, c, options);
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(ApplyInferenceBackwardBoxOn);

void ApplyInferenceBackwardBox(const ApplyTensors& tensors, const Box& box,
                               const Coefficients& coefficients,
                               ApplyOptions options) {
  HWY_DYNAMIC_DISPATCH(ApplyInferenceBackwardBoxOn)(tensors, box, coefficients,
                                                    options);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
