#include "server/kernel/fast_apply.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_apply.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, and in this order.
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "server/kernel/apply_box-inl.h"

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

void ApplyAny(Formula formula, const ApplyTensors& t, const Box& box,
              const Coefficients& c, ApplyOptions options) {
  switch (formula) {
    case Formula::kForward:
      return ApplyFormula<Formula::kForward>(t, box, c, options);
    case Formula::kBackward:
      return ApplyFormula<Formula::kBackward>(t, box, c, options);
    case Formula::kInferenceBackward:
      return ApplyFormula<Formula::kInferenceBackward>(t, box, c, options);
  }
}

bool AnyIsNotFiniteOn(const Coefficients& c, std::size_t first,
                      std::size_t end) {
  const DoubleTag d;
  const IntegerTag di;
  // Of an infinity or NaN the exponent is all ones: one more carries into the
  // sign.
  const auto exponent = hn::Set(di, std::int64_t{0x7ff} << 52);
  const auto one = hn::Set(di, std::int64_t{1} << 52);
  auto carried = hn::Zero(di);
  for (const auto& values :
       {c.mean, c.mean_lo, c.gain, c.beta, c.mean_dy, c.mean_dy_lo, c.k}) {
    if (values.empty()) continue;
    for (std::size_t i = first; i < end; i += LaneCount()) {
      const auto v = LoadFirst(d, values.data() + i, end - i);
      const auto next = hn::Add(hn::And(hn::BitCast(di, v), exponent), one);
      carried = hn::Or(carried, next);
    }
  }
  return !hn::AllFalse(di, hn::Lt(carried, hn::Zero(di)));
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace batchnorm::kernel {

HWY_EXPORT(ApplyAny);
HWY_EXPORT(AnyIsNotFiniteOn);

void ApplyBox(Formula formula, const ApplyTensors& tensors, const Box& box,
              const Coefficients& coefficients, ApplyOptions options) {
  HWY_DYNAMIC_DISPATCH(ApplyAny)(formula, tensors, box, coefficients, options);
}

bool AnyIsNotFinite(const Coefficients& coefficients, std::size_t first,
                    std::size_t end) {
  return HWY_DYNAMIC_DISPATCH(AnyIsNotFiniteOn)(coefficients, first, end);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
