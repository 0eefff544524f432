#include "tests/unit/kernel/truth.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace batchnorm::kernel::truth {
namespace {

constexpr mpfr_prec_t kBits = 640;

// A finite double as integer * 2^exponent.
struct Scaled {
  long integer;
  int exponent;
};

Scaled Decompose(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return {static_cast<long>(std::ldexp(fraction, 53)), exponent - 53};
}

Rational TimesPowerOfTwo(const mpz_class& integer, int exponent) {
  mpz_class shifted = integer;
  if (exponent >= 0) {
    shifted <<= static_cast<unsigned>(exponent);
    return Rational(shifted);
  }
  mpz_class denominator = 1;
  denominator <<= static_cast<unsigned>(-exponent);
  Rational result(shifted, denominator);
  result.canonicalize();
  return result;
}

int LeastExponent(std::span<const double> values) {
  int least = 2000;
  for (const double value : values) {
    if (value != 0) least = std::min(least, Decompose(value).exponent);
  }
  return least;
}

// value / 2^exponent, which is an integer.
mpz_class Steps(double value, int exponent) {
  if (value == 0) return 0;
  const Scaled scaled = Decompose(value);
  return mpz_class(scaled.integer)
         << static_cast<unsigned>(scaled.exponent - exponent);
}

// Rounds a number that is known to `direction`'s side with `bits` bits to a
// double, in the exponent range of doubles.
double ToNearestDouble(mpfr_srcptr value) {
  const mpfr_exp_t emin = mpfr_get_emin();
  const mpfr_exp_t emax = mpfr_get_emax();
  mpfr_set_emin(-1073);
  mpfr_set_emax(1024);
  mpfr_t rounded;
  mpfr_init2(rounded, 53);
  int ternary = mpfr_set(rounded, value, MPFR_RNDN);
  ternary = mpfr_check_range(rounded, ternary, MPFR_RNDN);
  mpfr_subnormalize(rounded, ternary, MPFR_RNDN);
  const double result = mpfr_get_d(rounded, MPFR_RNDN);
  mpfr_clear(rounded);
  mpfr_set_emin(emin);
  mpfr_set_emax(emax);
  return result + 0.0;  // -0 is not a sum
}

void SetFunction(mpfr_t result, const Rational& value, bool root,
                 mpfr_rnd_t direction) {
  mpfr_set_q(result, value.get_mpq_t(), direction);
  if (root) mpfr_sqrt(result, result, direction);
}

// Encloses the number ever more tightly, until both ends round alike.
double NearestOf(const Rational& value, bool root) {
  for (mpfr_prec_t bits = 256;; bits *= 2) {
    mpfr_t below;
    mpfr_t above;
    mpfr_init2(below, bits);
    mpfr_init2(above, bits);
    SetFunction(below, value, root, MPFR_RNDD);
    SetFunction(above, value, root, MPFR_RNDU);
    const double low = ToNearestDouble(below);
    const double high = ToNearestDouble(above);
    mpfr_clear(below);
    mpfr_clear(above);
    if (low == high) return low;
  }
}

}  // namespace

Rational Exact(double value) {
  if (value == 0) return 0;
  const Scaled scaled = Decompose(value);
  return TimesPowerOfTwo(scaled.integer, scaled.exponent);
}

Rational PowerOfTwo(int exponent) { return TimesPowerOfTwo(1, exponent); }

testing::AssertionResult Equal(const Rational& actual,
                               const Rational& expected) {
  if (actual == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << actual.get_str() << " is not " << expected.get_str();
}

Rational Sum(std::span<const double> values) {
  const int exponent = LeastExponent(values);
  mpz_class sum = 0;
  for (const double value : values) sum += Steps(value, exponent);
  return TimesPowerOfTwo(sum, exponent);
}

Rational SumOfProducts(std::span<const double> a, std::span<const double> b) {
  const int a_exponent = LeastExponent(a);
  const int b_exponent = LeastExponent(b);
  mpz_class sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += Steps(a[i], a_exponent) * Steps(b[i], b_exponent);
  }
  return TimesPowerOfTwo(sum, a_exponent + b_exponent);
}

double Nearest(const Rational& value) { return NearestOf(value, false); }

double NearestSqrt(const Rational& value) { return NearestOf(value, true); }

Real::Real(double value) {
  mpfr_init2(value_, kBits);
  mpfr_set_d(value_, value, MPFR_RNDN);
}

Real::Real(const Rational& value) : Real() {
  mpfr_set_q(value_, value.get_mpq_t(), MPFR_RNDN);
}

Real::Real(const Real& other) : Real() {
  mpfr_set(value_, other.value_, MPFR_RNDN);
}

Real& Real::operator=(const Real& other) {
  mpfr_set(value_, other.value_, MPFR_RNDN);
  return *this;
}

Real operator+(const Real& a, const Real& b) {
  Real result;
  mpfr_add(result.value_, a.value_, b.value_, MPFR_RNDN);
  return result;
}

Real operator-(const Real& a, const Real& b) {
  Real result;
  mpfr_sub(result.value_, a.value_, b.value_, MPFR_RNDN);
  return result;
}

Real operator*(const Real& a, const Real& b) {
  Real result;
  mpfr_mul(result.value_, a.value_, b.value_, MPFR_RNDN);
  return result;
}

Real operator/(const Real& a, const Real& b) {
  Real result;
  mpfr_div(result.value_, a.value_, b.value_, MPFR_RNDN);
  return result;
}

Real Sqrt(const Real& a) {
  Real result;
  mpfr_sqrt(result.value_, a.value_, MPFR_RNDN);
  return result;
}

Real Abs(const Real& a) {
  Real result;
  mpfr_abs(result.value_, a.value_, MPFR_RNDN);
  return result;
}

Real Max(const Real& a, const Real& b) {
  Real result;
  mpfr_max(result.value_, a.value_, b.value_, MPFR_RNDN);
  return result;
}

Real RealPowerOfTwo(int exponent) {
  Real result(1);
  return result * Real(PowerOfTwo(exponent));
}

}  // namespace batchnorm::kernel::truth
