// What certificate.h compares single values with, for every kind of magnitude:
// the bounds that a scan keeps, and the unit that a probe knows.
#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "server/kernel/certificate.h"
#include "server/kernel/float_formats.h"
#include "tests/unit/kernel/hard_batches.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

template <Dtype kDtypeValue>
struct Format {
  static constexpr Dtype kDtype = kDtypeValue;
};

struct FormatName {
  template <typename F>
  static std::string GetName(int) {
    return NameOf(F::kDtype);
  }
};

// The two bounds of single values, as the vector code compares them.
template <typename F>
class CertifiedValuesTest : public testing::Test {
 protected:
  using Bounds = Certificate<F::kDtype>;
  using Bits = typename Bounds::Bits;

  static bool ReachesLeast(Bits magnitude, int top,
                           int range = Bounds::kRange) {
    const auto doubled = static_cast<Bits>(magnitude << 1);
    return static_cast<Bits>(doubled - 1) >= Bounds::DoubledLeast(top, range);
  }
  static bool StaysBelow(Bits magnitude, int top) {
    return static_cast<Bits>(magnitude << 1) < Bounds::DoubledBound(top);
  }

  static double ValueOf(Bits bits) {
    if constexpr (F::kDtype == Dtype::kF16) return WidenF16(bits);
    if constexpr (F::kDtype == Dtype::kBF16) return WidenBF16(bits);
    if constexpr (F::kDtype == Dtype::kF32) return std::bit_cast<float>(bits);
    if constexpr (F::kDtype == Dtype::kF64) return std::bit_cast<double>(bits);
  }

  // Zero and the magnitudes near every power of two, infinity included; NaN.
  static std::vector<Bits> Magnitudes() {
    constexpr int kFractionBits = Bounds::Format::kPrecision - 1;
    constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
    std::vector<Bits> magnitudes = {0, 1, 2, 3, static_cast<Bits>(kSign - 1)};
    for (int bit = 2; bit < kFractionBits; ++bit) {  // subnormals
      magnitudes.push_back(static_cast<Bits>(Bits{1} << bit));
    }
    for (Bits v = Bits{1} << kFractionBits; v < kSign;
         v = static_cast<Bits>(v + (Bits{1} << kFractionBits))) {
      for (const int step : {-1, 0, 1}) {
        magnitudes.push_back(static_cast<Bits>(v + static_cast<Bits>(step)));
      }
    }
    return magnitudes;
  }

  template <typename Visit>
  static void ForEachTop(const Visit& visit) {
    const int step = Bounds::kWide ? 19 : 3;
    for (int top = Bounds::kLeastTop; top < Bounds::kGreatestTop; top += step) {
      visit(top);
    }
    for (const int top : {-14, 0, 15, 127, Bounds::kGreatestTop}) visit(top);
  }
};

using Formats = testing::Types<Format<Dtype::kF16>, Format<Dtype::kBF16>,
                               Format<Dtype::kF32>, Format<Dtype::kF64>>;
TYPED_TEST_SUITE(CertifiedValuesTest, Formats, FormatName);

TYPED_TEST(CertifiedValuesTest, AreZeroOrReachTheLeastOrAreMultiplesAnyway) {
  using C = Certificate<TypeParam::kDtype>;
  this->ForEachTop([&](int top) {
    for (const auto magnitude : this->Magnitudes()) {
      const double v = this->ValueOf(magnitude);
      if (!std::isfinite(v)) continue;
      const bool passes = this->ReachesLeast(magnitude, top);
      if (v == 0 || v >= std::ldexp(1.0, top - C::kRange)) {
        ASSERT_TRUE(passes) << v << ", top " << top;
      }
      if (!passes) continue;
      const double units = std::ldexp(v, -C::UnitOf(top));
      ASSERT_EQ(units, std::floor(units)) << v << ", top " << top;
    }
  });
}

TYPED_TEST(CertifiedValuesTest, HaveSquaresOfTheUpperUnitWhereTheyAreLarge) {
  using P = ProductCertificate<TypeParam::kDtype, true>;
  if constexpr (!P::C::kWide) {  // whose squares are no doubles
    this->ForEachTop([&](int top) {
      for (const auto magnitude : this->Magnitudes()) {
        const double v = this->ValueOf(magnitude);
        if (!std::isfinite(v)) continue;
        const bool is_large =
            this->ReachesLeast(magnitude, top, P::kUpperRange);
        if (v == 0 || v >= std::ldexp(1.0, top - P::kUpperRange)) {
          ASSERT_TRUE(is_large) << v << ", top " << top;
        }
        if (!is_large) continue;
        const double units = std::ldexp(v * v, P::kTopUnitBelowTop - 2 * top);
        ASSERT_EQ(units, std::floor(units)) << v << ", top " << top;
      }
    });
  }
}

TYPED_TEST(CertifiedValuesTest, StayBelowTheTopExactlyWhereTheyAreBelowIt) {
  this->ForEachTop([&](int top) {
    for (const auto magnitude : this->Magnitudes()) {
      const double v = this->ValueOf(magnitude);
      ASSERT_EQ(this->StaysBelow(magnitude, top),
                std::isfinite(v) && v < std::ldexp(1.0, top + 1))
          << v << ", top " << top;
    }
  });
}

// A float is probed right if the underflow flag tells whether it is a multiple.
TEST(ProbeTest, WhatIsNoMultipleOfTheUnitUnderflows) {
  Random random(3);
  const auto odd = [&](int exponent) {  // as many bits as a float has
    const auto bits = std::uniform_int_distribution(0, (1 << 22) - 1)(random);
    return std::ldexp((1 << 23) + 2 * bits + 1, exponent - 23);
  };
  int multiples = 0;
  for (int top = ProbeScale::kLeastTop; top <= ProbeScale::kGreatestTop;
       ++top) {
    const int unit = Certificate<Dtype::kF32>::UnitOf(top);
    for (int exponent = unit - 30; exponent < top + 10; ++exponent) {
      for (const double drawn :
           {odd(exponent), std::ldexp(1.0, exponent), std::ldexp(3.0, exponent),
            -odd(exponent), 0.0}) {
        const volatile auto v = static_cast<float>(drawn);
        const double units = std::ldexp(static_cast<double>(v), -unit);
        std::feclearexcept(FE_ALL_EXCEPT);
        const volatile float product = v * ProbeScale::Of(top).factor;
        const bool underflowed = std::fetestexcept(FE_UNDERFLOW) != 0;
        (void)product;
        const bool is_multiple = units == std::trunc(units);
        multiples += int{is_multiple};
        ASSERT_EQ(underflowed, !is_multiple) << v << ", top " << top;
      }
    }
  }
  EXPECT_GT(multiples, 1000);
}

}  // namespace
}  // namespace batchnorm::kernel
