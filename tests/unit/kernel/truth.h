// Truth for the kernel's tests, from GMP's rationals and MPFR's reals.
//
// Nothing here shares code with the kernel: sums are exact rationals, roundings
// are MPFR's, and elementwise results are computed with 640 bits.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_TRUTH_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_TRUTH_H_

#include <gmpxx.h>
#include <gtest/gtest.h>
#include <mpfr.h>

#include <span>

namespace batchnorm::kernel::truth {

using Rational = mpq_class;

// value, exactly. REQUIRES (as below): finite.
Rational Exact(double value);
Rational PowerOfTwo(int exponent);

// Whether two rationals are equal; shows both where not.
testing::AssertionResult Equal(const Rational& actual,
                               const Rational& expected);

Rational Sum(std::span<const double> values);
Rational SumOfProducts(std::span<const double> a, std::span<const double> b);

// The nearest double, ties to even, with subnormals and infinities.
double Nearest(const Rational& value);
// The double nearest to sqrt(value). REQUIRES: value >= 0.
double NearestSqrt(const Rational& value);

// A real number of 640 bits and practically any exponent.
class Real {
 public:
  Real(double value = 0);  // NOLINT(google-explicit-constructor)
  explicit Real(const Rational& value);
  Real(const Real& other);
  Real& operator=(const Real& other);
  ~Real() { mpfr_clear(value_); }

  friend Real operator+(const Real& a, const Real& b);
  friend Real operator-(const Real& a, const Real& b);
  friend Real operator*(const Real& a, const Real& b);
  friend Real operator/(const Real& a, const Real& b);
  friend bool operator<=(const Real& a, const Real& b) {
    return mpfr_lessequal_p(a.value_, b.value_) != 0;
  }
  friend Real Sqrt(const Real& a);
  friend Real Abs(const Real& a);
  friend Real Max(const Real& a, const Real& b);

  double ToDouble() const { return mpfr_get_d(value_, MPFR_RNDN); }
  // floor(log2(|value|)). REQUIRES: not zero.
  int FloorLog2() const { return static_cast<int>(mpfr_get_exp(value_)) - 1; }
  bool IsZero() const { return mpfr_zero_p(value_) != 0; }
  mpfr_srcptr get() const { return value_; }

 private:
  mpfr_t value_;
};

// 2^exponent.
Real RealPowerOfTwo(int exponent);

}  // namespace batchnorm::kernel::truth

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_TRUTH_H_
