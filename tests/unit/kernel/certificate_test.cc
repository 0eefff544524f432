// What certificate.h promises, for one lane in plain double arithmetic: data
// within the bounds sums exactly at the worst, and data a binade or two beyond
// them does not. So no constant can be loosened unnoticed.
#include "server/kernel/certificate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Rational;

template <Dtype kDtypeValue, bool kSquaresValue>
struct Kind {
  static constexpr Dtype kDtype = kDtypeValue;
  static constexpr bool kSquares = kSquaresValue;
  using C = Certificate<kDtype>;
  using P = ProductCertificate<kDtype, kSquares>;
  static constexpr int kPrecision = C::Format::kPrecision;
  static constexpr auto kAdds = static_cast<std::size_t>(C::kLaneAdds);
};

// The values of one lane, products being a[i]*b[i].
struct Lane {
  std::vector<double> a;
  std::vector<double> b;
};

struct Sums {
  Rational sum;
  Rational products;
  bool operator==(const Sums&) const = default;
};

Sums TrueSums(const Lane& lane) {
  return {truth::Sum(lane.a), truth::SumOfProducts(lane.a, lane.b)};
}

// A plain double that only ever takes multiples of 2^unit.
class Accumulator {
 public:
  Accumulator(double start, int unit)
      : start_(start), unit_(unit), value_(start) {}

  // Returns what was rounded off.
  double Add(double v) {
    const double next = value_ + v;
    const double rest = v - (next - value_);
    value_ = next;
    return rest;
  }
  double value() const { return value_; }

  // What it gained, read off its bits.
  Rational Gain() const {
    const auto units = std::bit_cast<std::int64_t>(value_) -
                       std::bit_cast<std::int64_t>(start_);
    return Rational(mpz_class(static_cast<long>(units))) *
           truth::PowerOfTwo(unit_);
  }

 private:
  double start_;
  int unit_;
  double value_;
};

struct Tops {
  int a;
  int b;
};

// The sums of a lane as accumulate-inl.h makes them, and whether those of
// squares stayed below their limit, which certifies them.
template <typename K>
struct SummedLane {
  using C = typename K::C;
  using P = typename K::P;

  SummedLane(const Lane& lane, Tops tops) {
    const int product = tops.a + tops.b;
    const auto scale = P::Scale(tops.a, tops.b);
    Accumulator sum(scale.sum, tops.a - P::kSumUnitBelowTop);
    Accumulator top(scale.top, product - P::kTopUnitBelowTop);
    Accumulator rest(scale.rest, product - P::kRestUnitBelowTop);
    Accumulator sum_rest(scale.sum_rest, tops.a - C::kUnitBelowTop);
    Accumulator error(scale.error, product - P::kErrorUnitBelowTop);
    Accumulator error_rest(scale.error_rest, product - P::kLeastUnitBelowTop);
    for (std::size_t i = 0; i < lane.a.size(); ++i) {
      const double rounded = lane.a[i] * lane.b[i];
      const double sum_left = sum.Add(lane.a[i]);
      rest.Add(top.Add(rounded));
      if constexpr (C::kWide) {
        sum_rest.Add(sum_left);
        error_rest.Add(error.Add(std::fma(lane.a[i], lane.b[i], -rounded)));
      }
    }
    stays_below_limit = top.value() < scale.top_limit;
    sums = {sum.Gain(), top.Gain() + rest.Gain()};
    if constexpr (C::kWide) {
      sums.sum += sum_rest.Gain();
      sums.products += error.Gain() + error_rest.Gain();
    }
  }

  bool IsCertified() const { return !K::kSquares || stays_below_limit; }

  Sums sums;
  bool stays_below_limit;
};

// Numbers of a dtype, by exponent.
template <typename K>
class Numbers {
 public:
  explicit Numbers(Random& random) : random_(random) {}

  // The greatest below 2^(exponent + 1).
  static double Greatest(int exponent) {
    return std::ldexp(2 - std::ldexp(1.0, 1 - K::kPrecision), exponent);
  }
  // One in the binade of `exponent` that is a multiple of its last bit only.
  double Odd(int exponent) {
    const auto bits = (random_() >> (64 - K::kPrecision)) | 1 |
                      (std::uint64_t{1} << (K::kPrecision - 1));
    return std::ldexp(static_cast<double>(bits), exponent + 1 - K::kPrecision);
  }
  // One in a binade of [least, greatest], of either sign.
  double Any(int least, int greatest) {
    const auto binades =
        std::uint64_t{1} + static_cast<std::uint64_t>(greatest - least);
    const double v = Odd(least + static_cast<int>(random_() % binades));
    return random_() % 2 == 0 ? v : -v;
  }

 private:
  Random& random_;
};

// Lanes at the limits of what tops (0, 0) certify, by what they stress. With
// `least` and `greatest` other than the certificate's, lanes beyond them.
template <typename K>
class Worst {
 public:
  static constexpr int kLeast = -K::C::kRange;
  static constexpr int kGreatest = 0;

  explicit Worst(Random& random, std::size_t adds = K::kAdds,
                 int least = kLeast, int greatest = kGreatest)
      : adds_(adds), least_(least), greatest_(greatest), numbers_(random) {}

  // The upper accumulators are filled to the brim: all as large as allowed. For
  // squares that is a matter of their sum: with equal values it is greatest.
  Lane Full() {
    double a = Numbers<K>::Greatest(greatest_);
    if (K::kSquares) {
      const double start = std::ldexp(1.0, 52 - K::P::kTopUnitBelowTop);
      const double limit = SquaresLimitOf(-K::P::kTopUnitBelowTop);
      a = std::sqrt((limit - start) / static_cast<double>(adds_));
      // Few enough bits for its square to be less by a unit of the accumulator.
      constexpr int kBits = std::min(K::kPrecision - 3, 24);
      a = std::ldexp(std::ceil(std::ldexp(a, kBits)) - 1, greatest_ - kBits);
    }
    return Copies(a, K::kSquares ? a : Numbers<K>::Greatest(greatest_));
  }

  // The lower ones are: what `lost` says of a product is as large as can be
  // found, the same for all.
  template <typename Lost>
  Lane WithGreatest(const Lost& lost) {
    double most = 0;
    double a = 1;
    double b = 1;
    // Copies of a square of the top binade are too large.
    const int greatest = K::kSquares ? greatest_ - 1 : greatest_;
    for (int trial = 0; trial < 20000; ++trial) {
      const double next_a = numbers_.Any(least_, greatest);
      const double next_b =
          K::kSquares ? next_a : numbers_.Any(least_, greatest);
      if (lost(next_a, next_b) <= most) continue;
      most = lost(next_a, next_b);
      a = next_a;
      b = next_b;
    }
    return Copies(a, b);
  }

  // One of all last bits among the largest.
  Lane WithOneOfTheLeast(std::size_t at) {
    Lane lane = Full();
    lane.a[at] = numbers_.Odd(least_);
    lane.b[at] = K::kSquares ? lane.a[at] : numbers_.Odd(least_);
    return lane;
  }

  Lane OfTheLeast() { return Drawn(least_, least_); }
  Lane OfAllBinades() { return Drawn(least_, greatest_); }
  Lane OfTheGreatest() { return Drawn(greatest_, greatest_); }

 private:
  Lane Copies(double a, double b) const {
    return {std::vector(adds_, a), std::vector(adds_, b)};
  }
  Lane Drawn(int least, int greatest) {
    Lane lane;
    for (std::size_t i = 0; i < adds_; ++i) {
      lane.a.push_back(numbers_.Any(least, greatest));
      lane.b.push_back(K::kSquares ? lane.a.back()
                                   : numbers_.Any(least, greatest));
    }
    return lane;
  }

  std::size_t adds_;
  int least_;
  int greatest_;
  Numbers<K> numbers_;
};

// What the upper accumulator rounds off of a product, and what its own
// rounding to a double loses.
template <typename K>
double LostByTop(double a, double b) {
  const double unit = std::ldexp(1.0, -K::P::kTopUnitBelowTop);
  return std::remainder(a * b, unit);
}
double LostByRounding(double a, double b) { return std::fma(a, b, -(a * b)); }

// Every kind of lane within the bounds, some of them several times.
template <typename K>
std::vector<Lane> WorstLanes(Random& random) {
  Worst<K> worst(random);
  std::vector<Lane> lanes = {worst.Full(), worst.WithOneOfTheLeast(0),
                             worst.WithOneOfTheLeast(K::kAdds / 2),
                             worst.WithOneOfTheLeast(K::kAdds - 1)};
  for (const double sign : {1.0, -1.0}) {
    lanes.push_back(worst.WithGreatest(
        [sign](double a, double b) { return sign * LostByTop<K>(a, b); }));
    lanes.push_back(worst.WithGreatest(
        [sign](double a, double b) { return sign * LostByRounding(a, b); }));
  }
  for (int i = 0; i < 30; ++i) {
    lanes.push_back(worst.OfTheLeast());
    lanes.push_back(worst.OfAllBinades());
    lanes.push_back(worst.OfTheGreatest());
  }
  return lanes;
}

Lane Scaled(Lane lane, Tops tops) {
  for (double& v : lane.a) v = std::ldexp(v, tops.a);
  for (double& v : lane.b) v = std::ldexp(v, tops.b);
  return lane;
}

Lane Negated(Lane lane) {
  for (double& v : lane.a) v = -v;
  return lane;
}

template <typename K>
class CertificateTest : public testing::Test {
 protected:
  // Whether any of 200 lanes is certified and wrong.
  template <typename Draw>
  bool Fails(const Draw& draw) {
    for (int i = 0; i < 200; ++i) {
      const Lane lane = draw();
      const SummedLane<K> summed(lane, {0, 0});
      if (summed.IsCertified() && summed.sums != TrueSums(lane)) return true;
    }
    return false;
  }

  Random random_{11};
};

struct KindName {
  template <typename K>
  static std::string GetName(int) {
    constexpr const char* kNames[] = {"F16", "BF16", "F32", "F64"};
    constexpr Dtype kAll[] = {Dtype::kF16, Dtype::kBF16, Dtype::kF32,
                              Dtype::kF64};
    const auto* at = std::ranges::find(kAll, K::kDtype);
    return std::string(kNames[at - kAll]) +
           (K::kSquares ? "Squares" : "Products");
  }
};

using Kinds =
    testing::Types<Kind<Dtype::kF16, true>, Kind<Dtype::kF16, false>,
                   Kind<Dtype::kBF16, true>, Kind<Dtype::kBF16, false>,
                   Kind<Dtype::kF32, true>, Kind<Dtype::kF32, false>,
                   Kind<Dtype::kF64, true>, Kind<Dtype::kF64, false>>;
TYPED_TEST_SUITE(CertificateTest, Kinds, KindName);

TYPED_TEST(CertificateTest, TheWorstLanesWithinTheBoundsSumExactly) {
  using C = typename TypeParam::C;
  const int least = C::kLeastTop;
  const int greatest = C::kGreatestTop;
  std::size_t certified = 0;
  std::size_t tried = 0;
  for (const Lane& lane : WorstLanes<TypeParam>(this->random_)) {
    for (const Tops tops : {Tops{0, 0}, {least, least}, {greatest, greatest}}) {
      const Lane scaled = Scaled(lane, tops);
      ++tried;
      const SummedLane<TypeParam> summed(scaled, tops);
      if (!summed.IsCertified()) continue;
      ++certified;
      ASSERT_EQ(summed.sums, TrueSums(scaled)) << lane.a[0] << " " << lane.b[0];
    }
  }
  // Squares of the largest, and 2^kLaneBits of them, are not certified.
  EXPECT_GE(certified, TypeParam::kSquares ? tried / 2 : tried);
}

TYPED_TEST(CertificateTest, ProductsOfTwoTopsSumExactly) {
  if constexpr (!TypeParam::kSquares) {
    using C = typename TypeParam::C;
    for (const Lane& lane : WorstLanes<TypeParam>(this->random_)) {
      for (const Tops tops : {Tops{C::kLeastTop, C::kGreatestTop}, {7, -30}}) {
        const Lane scaled = Negated(Scaled(lane, tops));
        ASSERT_EQ(SummedLane<TypeParam>(scaled, tops).sums, TrueSums(scaled));
      }
    }
  }
}

TYPED_TEST(CertificateTest, ABinadeBelowTheLeastLosesBits) {
  constexpr int kBelow = Worst<TypeParam>::kLeast - 1;
  Worst<TypeParam> beyond(this->random_, TypeParam::kAdds, kBelow);
  EXPECT_TRUE(this->Fails([&] { return beyond.OfTheLeast(); }));
}

// For squares, the limit bounds the sum of as many values as are allowed; wide
// dtypes keep a bit free.
TYPED_TEST(CertificateTest, MoreAdditionsOverflow) {
  constexpr bool kWide = TypeParam::C::kWide;
  constexpr std::size_t kTimes = kWide ? (TypeParam::kSquares ? 8 : 4) : 2;
  Worst<TypeParam> beyond(this->random_, kTimes * TypeParam::kAdds);
  EXPECT_TRUE(this->Fails([&] { return beyond.Full(); }));
}

TYPED_TEST(CertificateTest, TwoBinadesAboveTheTopOverflowOrAreNoticed) {
  constexpr int kAbove = Worst<TypeParam>::kGreatest + 2;
  Worst<TypeParam> beyond(this->random_, TypeParam::kAdds, kAbove, kAbove);
  if constexpr (TypeParam::kSquares) {
    for (int i = 0; i < 200; ++i) {
      const SummedLane<TypeParam> summed(beyond.OfTheGreatest(), {0, 0});
      EXPECT_FALSE(summed.IsCertified());
    }
  } else {
    EXPECT_TRUE(this->Fails([&] { return beyond.Full(); }));
  }
}

// What is known of a lane where elements are probed, not scanned: that they are
// multiples of the unit, and that their squares, as floats add them, stay below
// a bound. Single ones may be above the top.
template <typename K>
class ProbedLaneTest : public CertificateTest<K> {
 protected:
  static bool StaysBelow(const std::vector<double>& values, int top) {
    const ProbeScale scale = ProbeScale::Of(top);
    float squares = scale.squares;
    for (const double v : values) {
      const auto f = static_cast<float>(v);
      squares = std::fma(f, f, squares);
    }
    return squares < scale.squares_bound;
  }

  // Values that are multiples of the unit of top 0, of any binades up to
  // `greatest`, the first of them of that one.
  std::vector<double> Multiples(int greatest) {
    Numbers<K> numbers(this->random_);
    std::vector<double> values = {numbers.Any(greatest, greatest)};
    while (values.size() < K::kAdds) {
      const double v = numbers.Any(-K::C::kUnitBelowTop, greatest - 3);
      values.push_back(
          std::ldexp(std::trunc(std::ldexp(v, K::C::kUnitBelowTop)),
                     -K::C::kUnitBelowTop));
    }
    return values;
  }
};

using ProbedKinds =
    testing::Types<Kind<Dtype::kF16, false>, Kind<Dtype::kBF16, false>,
                   Kind<Dtype::kF32, false>>;
TYPED_TEST_SUITE(ProbedLaneTest, ProbedKinds, KindName);

TYPED_TEST(ProbedLaneTest, SumsExactlyWhereItsSquaresStayBelow) {
  int certified = 0;
  int not_certified = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    const int greatest = trial % 6 - 1;
    const Lane lane = {this->Multiples(greatest), this->Multiples(greatest)};
    for (const Tops tops :
         {Tops{0, 0}, Tops{ProbeScale::kLeastTop, ProbeScale::kGreatestTop}}) {
      const Lane scaled = Scaled(lane, tops);
      if (!this->StaysBelow(scaled.a, tops.a) ||
          !this->StaysBelow(scaled.b, tops.b)) {
        ++not_certified;
        continue;
      }
      ++certified;
      ASSERT_EQ(SummedLane<TypeParam>(scaled, tops).sums, TrueSums(scaled));
    }
  }
  EXPECT_GT(certified, 1000);
  EXPECT_GT(not_certified, 100);
}

// As many values as there can be, all the same, of one sign: of those that are
// certified, the greatest.
TYPED_TEST(ProbedLaneTest, SumsExactlyWhereItIsFull) {
  constexpr int kBits = std::min(TypeParam::kPrecision, 24);
  double v = 1;
  for (int bit = 1; bit < kBits; ++bit) {
    const double next = v + std::ldexp(1.0, -bit);
    if (this->StaysBelow(std::vector(TypeParam::kAdds, next), 0)) v = next;
  }
  EXPECT_GT(v, 1.9);
  for (const double sign : {1.0, -1.0}) {
    const Lane lane = {std::vector(TypeParam::kAdds, v),
                       std::vector(TypeParam::kAdds, sign * v)};
    EXPECT_EQ(SummedLane<TypeParam>(lane, {0, 0}).sums, TrueSums(lane));
  }
}

}  // namespace
}  // namespace batchnorm::kernel
