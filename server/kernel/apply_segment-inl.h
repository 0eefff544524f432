// Eq. 18, 19 and 13 on a segment of a row: no operation is fused, none is
// reordered, so that the bits are those of the readable form.
#if defined(BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#undef BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#else
#define BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "server/kernel/fast_apply.h"
#include "server/kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace batchnorm::kernel::HWY_NAMESPACE {

// What a loop over elements is compiled for.
template <Formula kFormulaOf, Dtype kDtypeOf, bool kPerLaneOf, bool kMayBeNanOf>
struct Loop {
  static constexpr Formula kFormula = kFormulaOf;
  static constexpr Dtype kDtype = kDtypeOf;
  // Every lane has coefficients of its own, or all share one channel's.
  static constexpr bool kPerLane = kPerLaneOf;
  static constexpr bool kMayBeNan = kMayBeNanOf;
  static constexpr bool kIsForward = kFormula == Formula::kForward;
  static constexpr bool kIsBackward = kFormula == Formula::kBackward;
  static constexpr bool kReadsX = kIsForward || kIsBackward;
  static constexpr bool kReadsDy = !kIsForward;
};

// The coefficients of consecutive columns, or of one channel.
struct CoefficientsAt {
  const double* mean;
  const double* mean_lo;
  const double* gain;
  const double* beta;
  const double* mean_dy;
  const double* mean_dy_lo;
  const double* k;
};

// The coefficients of a vector of columns, or 0 where the formula has none.
template <class A, bool kIsNeeded>
HWY_INLINE DoubleVector Coefficient(const double* from, std::size_t column) {
  const DoubleTag d;
  if constexpr (!kIsNeeded) return hn::Zero(d);
  return A::kPerLane ? hn::LoadU(d, from + column) : hn::Set(d, *from);
}

// One channel's coefficients, where no store to a tensor can reach them: so
// they stay in registers.
template <class A>
class OwnCoefficients {
 public:
  HWY_INLINE explicit OwnCoefficients(CoefficientsAt c) : at_(c) {
    if constexpr (A::kPerLane) return;
    Own(c.gain, 0, at_.gain);
    if constexpr (A::kReadsX) {
      Own(c.mean, 1, at_.mean);
      Own(c.mean_lo, 2, at_.mean_lo);
    }
    if constexpr (A::kIsForward) Own(c.beta, 3, at_.beta);
    if constexpr (A::kIsBackward) {
      Own(c.mean_dy, 4, at_.mean_dy);
      Own(c.mean_dy_lo, 5, at_.mean_dy_lo);
      Own(c.k, 6, at_.k);
    }
  }
  OwnCoefficients(const OwnCoefficients&) = delete;
  OwnCoefficients& operator=(const OwnCoefficients&) = delete;

  HWY_INLINE const CoefficientsAt& at() const { return at_; }

 private:
  HWY_INLINE void Own(const double* from, std::size_t i, const double*& at) {
    values_[i] = *from;
    at = &values_[i];
  }

  CoefficientsAt at_;
  double values_[7];
};

// The results of one vector of elements. Results that are put together to be
// stored past the caches keep the adding units busy, too: then the last
// subtraction goes to the others. The bits are the same.
template <class A, bool kStreams>
HWY_INLINE DoubleVector Evaluate(const BitsOf<A::kDtype>* x,
                                 const BitsOf<A::kDtype>* dy, DoubleVector mean,
                                 DoubleVector mean_lo, DoubleVector gain,
                                 DoubleVector beta, DoubleVector mean_dy,
                                 DoubleVector mean_dy_lo, DoubleVector k) {
  auto result = gain;
  if constexpr (A::kIsForward) {
    const auto centered =
        SubAside(hn::Sub(LoadWide<A::kDtype>(x), mean), mean_lo);
    result = AddAside(hn::Mul(gain, centered), beta);
  } else if constexpr (A::kIsBackward) {
    const auto centered =
        SubAside(hn::Sub(LoadWide<A::kDtype>(x), mean), mean_lo);
    const auto centered_dy =
        SubAside(hn::Sub(LoadWide<A::kDtype>(dy), mean_dy), mean_dy_lo);
    const auto along_x = hn::Mul(centered, k);
    result = hn::Mul(gain, kStreams ? SubAside(centered_dy, along_x)
                                    : hn::Sub(centered_dy, along_x));
  } else {
    result = hn::Mul(gain, LoadWide<A::kDtype>(dy));
  }
  if constexpr (A::kMayBeNan) result = CanonicalNan(result);
  return result;
}

template <class A>
HWY_INLINE void ApplyVector(const BitsOf<A::kDtype>* x,
                            const BitsOf<A::kDtype>* dy,
                            const CoefficientsAt& c, std::size_t column,
                            BitsOf<A::kDtype>* out) {
  const auto mean = Coefficient<A, A::kReadsX>(c.mean, column);
  const auto mean_lo = Coefficient<A, A::kReadsX>(c.mean_lo, column);
  const auto gain = Coefficient<A, true>(c.gain, column);
  const auto beta = Coefficient<A, A::kIsForward>(c.beta, column);
  const auto mean_dy = Coefficient<A, A::kIsBackward>(c.mean_dy, column);
  const auto mean_dy_lo = Coefficient<A, A::kIsBackward>(c.mean_dy_lo, column);
  const auto k = Coefficient<A, A::kIsBackward>(c.k, column);
  StoreNarrow<A::kDtype>(Evaluate<A, false>(x, dy, mean, mean_lo, gain, beta,
                                            mean_dy, mean_dy_lo, k),
                         out);
}

// The last elements of a segment, fewer than a vector.
template <class A>
HWY_NOINLINE void ApplyTail(const BitsOf<A::kDtype>* x,
                            const BitsOf<A::kDtype>* dy,
                            const CoefficientsAt& c, std::size_t column,
                            std::size_t size, BitsOf<A::kDtype>* out) {
  HWY_ALIGN BitsOf<A::kDtype> x_values[kMaxLanes] = {};
  HWY_ALIGN BitsOf<A::kDtype> dy_values[kMaxLanes] = {};
  HWY_ALIGN BitsOf<A::kDtype> results[kMaxLanes];
  if constexpr (A::kReadsX) {
    std::memcpy(x_values, x, size * sizeof(*x));
  }
  if constexpr (A::kReadsDy) {
    std::memcpy(dy_values, dy, size * sizeof(*dy));
  }
  ApplyVector<A>(x_values, dy_values, c, column, results);
  std::memcpy(out, results, size * sizeof(*out));
}

// In which order lines of kRows rows are fetched, one of each while a step of
// their columns is at work. Rows without a gap between them are fetched one
// after the other: memory hands that over quicker than the same columns of
// each.
template <std::size_t kRows>
struct FetchOrder {
  HWY_INLINE FetchOrder(std::size_t size, std::int64_t stride, std::size_t step)
      : by_row(stride), by_step(static_cast<std::int64_t>(step)) {
    if (stride != static_cast<std::int64_t>(size)) return;
    by_row = by_step;
    by_step *= kRows;
  }

  std::int64_t by_row;   // from one row's line to the next one's
  std::int64_t by_step;  // from one step's lines to the next one's
};

// Two vectors of columns, i and j, of kRows rows that lie `stride` apart. All
// results are there before the first is stored: the machine compares a few bits
// of addresses only, and where rows lie a multiple of 4 KiB apart it would take
// a load of the next row for one of what was just stored, and wait. (Rows are
// counted from the first one, so that few pointers go through the loop.)
template <class A, bool kStreams, bool kFetches, std::size_t kRows,
          std::int64_t kRow = 0>
HWY_INLINE void ApplyPair(
    const BitsOf<A::kDtype>* x, const BitsOf<A::kDtype>* dy,
    std::int64_t stride, const BitsOf<A::kDtype>* x_ahead,
    const BitsOf<A::kDtype>* dy_ahead, std::int64_t by_row, DoubleVector mean_i,
    DoubleVector mean_j, DoubleVector mean_lo_i, DoubleVector mean_lo_j,
    DoubleVector gain_i, DoubleVector gain_j, DoubleVector beta_i,
    DoubleVector beta_j, DoubleVector mean_dy_i, DoubleVector mean_dy_j,
    DoubleVector mean_dy_lo_i, DoubleVector mean_dy_lo_j, DoubleVector k_i,
    DoubleVector k_j, BitsOf<A::kDtype>* out) {
  const std::size_t lanes = LaneCount();
  const std::int64_t at = kRow * stride;
  if constexpr (kFetches && A::kReadsX) PrefetchFar(x_ahead + kRow * by_row);
  if constexpr (kFetches && A::kReadsDy) PrefetchFar(dy_ahead + kRow * by_row);
  const auto result_i =
      Evaluate<A, kStreams>(x + at, dy + at, mean_i, mean_lo_i, gain_i, beta_i,
                            mean_dy_i, mean_dy_lo_i, k_i);
  const auto result_j =
      Evaluate<A, kStreams>(x + at + lanes, dy + at + lanes, mean_j, mean_lo_j,
                            gain_j, beta_j, mean_dy_j, mean_dy_lo_j, k_j);
  if constexpr (kRow + 1 < static_cast<std::int64_t>(kRows)) {
    ApplyPair<A, kStreams, kFetches, kRows, kRow + 1>(
        x, dy, stride, x_ahead, dy_ahead, by_row, mean_i, mean_j, mean_lo_i,
        mean_lo_j, gain_i, gain_j, beta_i, beta_j, mean_dy_i, mean_dy_j,
        mean_dy_lo_i, mean_dy_lo_j, k_i, k_j, out);
  }
  if constexpr (kStreams) {
    StreamNarrow<A::kDtype>(result_i, result_j, out + at);
  } else {
    StoreNarrow<A::kDtype>(result_i, result_j, out + at);
  }
}

// Elements [begin, size) of kRows rows, as far as there are pairs of vectors;
// returns how far. Coefficients are loaded once: a channel's for all of it, a
// column's for all rows. What lies `ahead` is fetched meanwhile, if kFetches.
template <class A, bool kStreams, bool kFetches, std::size_t kRows>
HWY_INLINE std::size_t ApplyPairs(const BitsOf<A::kDtype>* x,
                                  const BitsOf<A::kDtype>* dy,
                                  const CoefficientsAt& from, std::size_t begin,
                                  std::size_t size, std::int64_t stride,
                                  std::int64_t ahead, BitsOf<A::kDtype>* out) {
  const OwnCoefficients<A> own(from);
  const CoefficientsAt& c = own.at();
  const std::size_t lanes = LaneCount();
  const FetchOrder<kRows> order(size, stride, 2 * lanes);
  x += begin;
  dy += begin;
  out += begin;
  const BitsOf<A::kDtype>* x_ahead = x + ahead;
  const BitsOf<A::kDtype>* dy_ahead = dy + ahead;
  std::size_t i = begin;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    const std::size_t j = i + lanes;
    ApplyPair<A, kStreams, kFetches, kRows>(
        x, dy, stride, x_ahead, dy_ahead, order.by_row,
        Coefficient<A, A::kReadsX>(c.mean, i),
        Coefficient<A, A::kReadsX>(c.mean, j),
        Coefficient<A, A::kReadsX>(c.mean_lo, i),
        Coefficient<A, A::kReadsX>(c.mean_lo, j),
        Coefficient<A, true>(c.gain, i), Coefficient<A, true>(c.gain, j),
        Coefficient<A, A::kIsForward>(c.beta, i),
        Coefficient<A, A::kIsForward>(c.beta, j),
        Coefficient<A, A::kIsBackward>(c.mean_dy, i),
        Coefficient<A, A::kIsBackward>(c.mean_dy, j),
        Coefficient<A, A::kIsBackward>(c.mean_dy_lo, i),
        Coefficient<A, A::kIsBackward>(c.mean_dy_lo, j),
        Coefficient<A, A::kIsBackward>(c.k, i),
        Coefficient<A, A::kIsBackward>(c.k, j), out);
    x += 2 * lanes;
    dy += 2 * lanes;
    out += 2 * lanes;
    x_ahead += order.by_step;
    dy_ahead += order.by_step;
  }
  return i;
}

// Elements [from, size) of a row, fewer than a pair of vectors.
template <class A>
HWY_INLINE void ApplyRest(const BitsOf<A::kDtype>* x,
                          const BitsOf<A::kDtype>* dy, const CoefficientsAt& c,
                          std::size_t from, std::size_t size, bool apart,
                          BitsOf<A::kDtype>* out) {
  const std::size_t lanes = LaneCount();
  std::size_t j = from;
  if (j + lanes <= size) {
    ApplyVector<A>(x + j, dy + j, c, j, out + j);
    j += lanes;
  }
  if (j == size) return;
  if (apart && size >= lanes) {
    // Some elements twice, which is quicker than fewer than a vector.
    j = size - lanes;
    ApplyVector<A>(x + j, dy + j, c, j, out + j);
  } else {
    ApplyTail<A>(x + j, dy + j, c, j, size - j, out + j);
  }
}

// Elements [begin, size) of a row; column j has the coefficients c[j] if per
// lane. Coefficients can be read up to a vector behind the last column. `out`
// is apart from x and dy, or the same element by element; `apart` says which.
// Prefetches the elements that lie `ahead` of these.
template <class A>
HWY_INLINE void ApplySegment(const BitsOf<A::kDtype>* x,
                             const BitsOf<A::kDtype>* dy,
                             const CoefficientsAt& c, std::size_t begin,
                             std::size_t size, std::int64_t ahead, bool apart,
                             BitsOf<A::kDtype>* out) {
  const std::size_t done =
      ApplyPairs<A, false, true, 1>(x, dy, c, begin, size, 0, ahead, out);
  ApplyRest<A>(x, dy, c, done, size, apart, out);
}

// The same of kRows rows that lie `stride` apart. Stores past the caches as far
// as whole lines are written, if kStreams, which needs a stride of whole lines:
// they go along with the arithmetic, which a buffer would have to precede.
template <class A, bool kStreams, bool kFetches, std::size_t kRows>
HWY_INLINE void ApplyRows(const BitsOf<A::kDtype>* x,
                          const BitsOf<A::kDtype>* dy, const CoefficientsAt& c,
                          std::size_t begin, std::size_t size,
                          std::int64_t stride, std::int64_t ahead, bool apart,
                          BitsOf<A::kDtype>* out) {
  const std::size_t step = 2 * LaneCount();
  std::size_t head = begin;
  if constexpr (kStreams) {
    const std::size_t past =
        reinterpret_cast<std::uintptr_t>(out + begin) / sizeof(*out) % step;
    head = std::min(size, begin + (step - past) % step);
  }
  const std::size_t done = ApplyPairs<A, kStreams, kFetches, kRows>(
      x, dy, c, head, size, stride, ahead, out);
  for (std::size_t row = 0; row < kRows; ++row) {
    if (head > begin) ApplySegment<A>(x, dy, c, begin, head, 0, apart, out);
    ApplyRest<A>(x, dy, c, done, size, apart, out);
    x += stride;
    dy += stride;
    out += stride;
  }
}

}  // namespace batchnorm::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BATCHNORMD_SERVER_KERNEL_APPLY_SEGMENT_INL_H_
