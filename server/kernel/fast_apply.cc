#include "server/kernel/fast_apply.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/kernel/fast_apply.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, and in this order.
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

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

HWY_EXPORT(AnyIsNotFiniteOn);

void ApplyBox(Formula formula, const ApplyTensors& tensors, const Box& box,
              const Coefficients& coefficients, ApplyOptions options) {
  switch (formula) {
    case Formula::kForward:
      return ApplyForwardBox(tensors, box, coefficients, options);
    case Formula::kBackward:
      return ApplyBackwardBox(tensors, box, coefficients, options);
    case Formula::kInferenceBackward:
      return ApplyInferenceBackwardBox(tensors, box, coefficients, options);
  }
}

bool AnyIsNotFinite(const Coefficients& coefficients, std::size_t first,
                    std::size_t end) {
  return HWY_DYNAMIC_DISPATCH(AnyIsNotFiniteOn)(coefficients, first, end);
}

}  // namespace batchnorm::kernel
#endif  // HWY_ONCE
