// Eq. 18 and 19 for 16-bit tensors by floats, which are twice as many a vector
// as doubles and need no second conversion.
//
// What is to be written is D, the doubles' result (apply_segment-inl.h),
// rounded. Floats give a number near D and a bound w of how far away it is.
// Where both ends of that interval round to the same 16 bits, so does D, which
// lies between. They do but for one element in some thousand, whose block then
// goes through the doubles.
//
//   y  = gain d + shift            d = x - m,  e = dy - a
//   dx = gain_k d + (gain e + shift)
//
// m and a are the means as floats; what they lack, and beta, is in `shift`, and
// gain_k is -gain k: numbers of doubles' precision, made floats. Error, with
// u = 2^-24 and |gain~|, say, for what gain loses as a float:
//   d and e: u |d|, u |e|
//   y:  (2u |gain| + |gain~|) |d| + u |shift| + |shift~|
//   dx: (2u |gain_k| + |gain_k~|) |d| + (3u |gain| + |gain~|) |e| +
//       2u |shift| + |shift~|
// D's own roundings and those of w are thousands of times less: 1 in 100 more
// is for them, and for shift, whose terms may cancel, 2^-50 of these. The ends
// are rounded outwards, where AVX-512 is; AVX2 rounds them to nearest, which
// may bring them nearer by u times themselves, and has a u more for each of
// |gain d|, |gain_k d|, |gain e| and |shift|. Where floats are subnormal they
// err by up to 2^-149 instead; a least w of 2^-100 is far above that, and above
// what conversions take for 0. So 0 itself, whose sign would be in question, is
// never certain. What is kept is w * 2^23: that is more than any product above,
// and so it overflows before one of them does, and nothing is certain.
#if defined(BATCHNORMD_SERVER_KERNEL_RESULT_INTERVAL_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_RESULT_INTERVAL_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_RESULT_INTERVAL_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_RESULT_INTERVAL_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "server/kernel/apply_segment-inl.h"
#include "server/kernel/lanes-inl.h"

// It needs vectors of eight floats and more, and FMA.
#undef BN_HAS_INTERVALS
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2  // or better
#define BN_HAS_INTERVALS 1
#else
#define BN_HAS_INTERVALS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

#if BN_HAS_INTERVALS

using WideFloatTag = hn::ScalableTag<float>;
using WideFloats = hn::Vec<WideFloatTag>;

inline constexpr std::size_t kFloatLanes = hn::MaxLanes(WideFloatTag());
// Elements whose results are compared together.
inline constexpr std::size_t kIntervalBlock = 2 * kFloatLanes;

// What w is kept in.
inline constexpr double kUnitOfW = 0x1p-23;

// How many u of each term an end may lose.
#if HWY_TARGET <= HWY_AVX3
inline constexpr double kLostAtEnds = 0;
#else
inline constexpr double kLostAtEnds = 1;
#endif

// What a loop reads of each column, as floats.
struct IntervalsAt {
  enum Which : std::uint8_t {
    kMean,
    kGain,
    kShift,
    kMeanDy,  // of backward alone
    kGainK,
    // What makes w of |d|, of |e|, and the rest of it; in kUnitOfW.
    kSlope,
    kSlopeDy,
    kError,
    kCount
  };

  const float* first;  // kMean of the first column
  std::size_t stride;  // from one of the above to the next
};

// The same of many columns, or channels.
class IntervalNumbers {
 public:
  // Of the first `columns`, or channels, that have these.
  template <class A>
  void Set(const CoefficientsAt& c, std::size_t columns) {
    stride_ = columns + kIntervalBlock;
    values_.resize(IntervalsAt::kCount * stride_);
    for (std::size_t i = 0; i < columns; i += LaneCount()) {
      SetVector<A>(c, i, columns - i);
    }
  }

  // Those of columns i and on, or of channel i.
  IntervalsAt From(std::size_t i) const {
    return {values_.data() + i, stride_};
  }

 private:
  // Columns whose numbers are too large or too small for floats get a w of
  // infinity: all their elements are in doubt. No more than `columns` are read:
  // another thread may be writing the coefficients behind them.
  template <class A>
  HWY_INLINE void SetVector(const CoefficientsAt& c, std::size_t i,
                            std::size_t columns) {
    const DoubleTag d;
    const auto load = [&](const double* from)
                          HWY_ATTR { return LoadFirst(d, from + i, columns); };
    const auto infinity = hn::Set(d, std::numeric_limits<double>::infinity());
    const auto gain = load(c.gain);
    const Mean mean(load(c.mean), load(c.mean_lo));
    auto holds = hn::And(IsBelow(mean.value), IsFactor(gain));
    if constexpr (A::kIsForward) {
      const auto beta = load(c.beta);
      const auto less = hn::Mul(mean.lost, gain);
      const auto shift = hn::Sub(beta, less);
      holds = hn::And(holds, IsBelow(beta));
      Store(IntervalsAt::kSlope, i, hn::IfThenElseZero(holds, Error(2, gain)));
      Store(IntervalsAt::kShift, i, hn::IfThenElseZero(holds, shift));
      Store(IntervalsAt::kError, i,
            hn::IfThenElse(holds, LastError(1, shift, beta, less), infinity));
    } else {
      const Mean mean_dy(load(c.mean_dy), load(c.mean_dy_lo));
      const auto gain_k = hn::Neg(hn::Mul(gain, load(c.k)));
      const auto of_x = hn::Mul(mean.lost, gain_k);
      const auto of_dy = hn::Mul(mean_dy.lost, gain);
      const auto shift = hn::Neg(hn::Add(of_x, of_dy));
      holds = hn::And(holds, IsBelow(mean_dy.value));
      holds = hn::And(holds, IsFactor(gain_k));
      Store(IntervalsAt::kMeanDy, i, hn::IfThenElseZero(holds, mean_dy.value));
      Store(IntervalsAt::kGainK, i, hn::IfThenElseZero(holds, gain_k));
      Store(IntervalsAt::kSlope, i,
            hn::IfThenElseZero(holds, Error(2, gain_k)));
      Store(IntervalsAt::kSlopeDy, i,
            hn::IfThenElseZero(holds, Error(3, gain)));
      Store(IntervalsAt::kShift, i, hn::IfThenElseZero(holds, shift));
      Store(IntervalsAt::kError, i,
            hn::IfThenElse(holds, LastError(2, shift, of_x, of_dy), infinity));
    }
    Store(IntervalsAt::kMean, i, hn::IfThenElseZero(holds, mean.value));
    Store(IntervalsAt::kGain, i, hn::IfThenElseZero(holds, gain));
  }

  static HWY_INLINE DoubleVector AsFloats(DoubleVector v) {
    return hn::PromoteTo(DoubleTag(), hn::DemoteTo(FloatTag(), v));
  }

  // A mean, and what its float lacks.
  struct Mean {
    HWY_INLINE Mean(DoubleVector hi, DoubleVector lo)
        : value(hi), lost(hn::Add(hn::Sub(hi, AsFloats(hi)), lo)) {}
    DoubleVector value;
    DoubleVector lost;
  };

  // `units` of u, and what the float loses.
  static HWY_INLINE DoubleVector Error(double units, DoubleVector v) {
    const DoubleTag d;
    const auto lost = hn::Sub(v, AsFloats(v));
    const double all = 1.01 * (units + kLostAtEnds) * 0x1p-24 / kUnitOfW;
    return hn::MulAdd(hn::Set(d, all), hn::Abs(v),
                      hn::Mul(hn::Set(d, 1 / kUnitOfW), hn::Abs(lost)));
  }

  // The same of a shift that was made of two terms, and the least error.
  static HWY_INLINE DoubleVector LastError(double units, DoubleVector shift,
                                           DoubleVector term0,
                                           DoubleVector term1) {
    const DoubleTag d;
    const auto terms = hn::Add(hn::Abs(term0), hn::Abs(term1));
    const auto least = hn::MulAdd(hn::Set(d, 0x1p-50 / kUnitOfW), terms,
                                  hn::Set(d, 0x1p-100 / kUnitOfW));
    return hn::Add(Error(units, shift), least);
  }

  using DoubleMask = hn::Mask<DoubleTag>;
  static HWY_INLINE DoubleMask IsBelow(DoubleVector v) {
    return hn::Lt(hn::Abs(v), hn::Set(DoubleTag(), 0x1p100));
  }
  // A normal float, or 0, whose products with what a mean lost are floats.
  static HWY_INLINE DoubleMask IsFactor(DoubleVector v) {
    const DoubleTag d;
    const auto magnitude = hn::Abs(v);
    const auto is_normal = hn::And(hn::Gt(magnitude, hn::Set(d, 0x1p-100)),
                                   hn::Lt(magnitude, hn::Set(d, 0x1p40)));
    return hn::Or(is_normal, hn::Eq(v, hn::Zero(d)));
  }

  HWY_INLINE void Store(IntervalsAt::Which which, std::size_t i,
                        DoubleVector v) {
    const FloatTag df;
    hn::StoreU(hn::DemoteTo(df, v), df, &values_[which * stride_ + i]);
  }

  std::size_t stride_ = 0;
  std::vector<float> values_;
};

// The numbers of a vector of columns: each its own, or all one channel's.
template <class A>
struct IntervalVectors {
  HWY_INLINE IntervalVectors(const IntervalsAt& of, std::size_t column)
      : mean(Load(of, of.kMean, column)),
        gain(Load(of, of.kGain, column)),
        shift(Load(of, of.kShift, column)),
        mean_dy(Load(of, of.kMeanDy, column)),
        gain_k(Load(of, of.kGainK, column)),
        slope(Load(of, of.kSlope, column)),
        slope_dy(Load(of, of.kSlopeDy, column)),
        error(Load(of, of.kError, column)) {}

  HWY_INLINE static WideFloats Load(const IntervalsAt& of,
                                    IntervalsAt::Which which,
                                    std::size_t column) {
    const WideFloatTag d;
    const float* from = of.first + which * of.stride;
    return A::kPerLane ? hn::LoadU(d, from + column) : hn::Set(d, *from);
  }

  WideFloats mean, gain, shift, mean_dy, gain_k, slope, slope_dy, error;
};

struct Ends {
  WideFloats lo;
  WideFloats hi;
};

#if HWY_TARGET <= HWY_AVX3

// v - w and v + w, rounded outwards; w in its units.
HWY_INLINE Ends EndsAround(WideFloats v, WideFloats w) {
  constexpr int kDown = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  constexpr int kUp = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;
  const __m512 unit = _mm512_set1_ps(static_cast<float>(kUnitOfW));
  return {WideFloats{_mm512_fnmadd_round_ps(w.raw, unit, v.raw, kDown)},
          WideFloats{_mm512_fmadd_round_ps(w.raw, unit, v.raw, kUp)}};
}

template <Dtype kDtype>
HWY_INLINE WideFloats LoadFloats(const std::uint16_t* from) {
  const __m256i halves =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  if constexpr (kDtype == Dtype::kF16) {
    return WideFloats{_mm512_cvtph_ps(halves)};
  }
  // As BF16ToFloat.
  const __m512i into_upper =
      _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8,
                       8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m512i floats = _mm512_maskz_permutexvar_epi16(
      0xaaaaaaaa, into_upper, _mm512_castsi256_si512(halves));
  return WideFloats{_mm512_castsi512_ps(floats)};
}

#else

// v - w and v + w, rounded to nearest; w in its units.
HWY_INLINE Ends EndsAround(WideFloats v, WideFloats w) {
  const auto unit = hn::Set(WideFloatTag(), static_cast<float>(kUnitOfW));
  return {hn::NegMulAdd(w, unit, v), hn::MulAdd(w, unit, v)};
}

template <Dtype kDtype>
HWY_INLINE WideFloats LoadFloats(const std::uint16_t* from) {
  const WideFloatTag d;
  if constexpr (kDtype == Dtype::kF16) {
    const hn::Rebind<hwy::float16_t, WideFloatTag> dh;
    const hn::Rebind<std::uint16_t, WideFloatTag> bits;
    return hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(bits, from)));
  }
  const hn::Rebind<std::uint16_t, WideFloatTag> bits;
  const hn::Rebind<std::uint32_t, WideFloatTag> wide;
  const auto upper =
      hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(bits, from)));
  return hn::BitCast(d, upper);
}

#endif

// Of the results of a vector of elements.
template <class A>
HWY_INLINE Ends EndsOf(const std::uint16_t* x, const std::uint16_t* dy,
                       const IntervalVectors<A>& c) {
  const auto d = hn::Sub(LoadFloats<A::kDtype>(x), c.mean);
  if constexpr (A::kIsForward) {
    const auto y = hn::MulAdd(d, c.gain, c.shift);
    return EndsAround(y, hn::MulAdd(hn::Abs(d), c.slope, c.error));
  }
  const auto e = hn::Sub(LoadFloats<A::kDtype>(dy), c.mean_dy);
  const auto dx = hn::MulAdd(d, c.gain_k, hn::MulAdd(e, c.gain, c.shift));
  const auto w = hn::MulAdd(hn::Abs(d), c.slope,
                            hn::MulAdd(hn::Abs(e), c.slope_dy, c.error));
  return EndsAround(dx, w);
}

#endif  // BN_HAS_INTERVALS

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_RESULT_INTERVAL_INL_H_
