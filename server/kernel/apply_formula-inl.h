// One formula of the apply passes, for tensors of every dtype.
#if defined(BATCHNORMD_SERVER_KERNEL_APPLY_FORMULA_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_APPLY_FORMULA_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_APPLY_FORMULA_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_APPLY_FORMULA_INL_H_
#endif

#include <hwy/highway.h>

#include "server/kernel/apply_box-inl.h"
#include "server/kernel/fast_apply.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

template <Formula kFormula, Dtype kDtype>
void ApplyTyped(const ApplyTensors& t, const Box& box, const Coefficients& c,
                ApplyOptions options) {
  using Bits = BitsOf<kDtype>;
  BoxApplier<kFormula, kDtype>(reinterpret_cast<const Bits*>(t.x),
                               reinterpret_cast<const Bits*>(t.dy), c, options,
                               reinterpret_cast<Bits*>(t.out))
      .Apply(box);
}

template <Formula kFormula>
void ApplyFormula(const ApplyTensors& t, const Box& box, const Coefficients& c,
                  ApplyOptions options) {
  switch (t.dtype) {
    case Dtype::kF16:
      return ApplyTyped<kFormula, Dtype::kF16>(t, box, c, options);
    case Dtype::kBF16:
      return ApplyTyped<kFormula, Dtype::kBF16>(t, box, c, options);
    case Dtype::kF32:
      return ApplyTyped<kFormula, Dtype::kF32>(t, box, c, options);
    case Dtype::kF64:
      return ApplyTyped<kFormula, Dtype::kF64>(t, box, c, options);
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_APPLY_FORMULA_INL_H_
