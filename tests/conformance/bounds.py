"""How far a correct result may be from the truth, and why.

u = 2^-53. The service promises, for x of f16, bf16 and f32,

    y    0.501 ulp(max(|y|,  2^-16 |gamma x_hat|))
    dx   0.501 ulp(max(|dx|, 2^-16 |gamma| inv_std T)),
         T = |dy - mean(dy)| + |x_hat mean(dy x_hat)|

where ulp is the spacing of x's dtype. For f64 it promises 0.5 ulp +
5u |gamma x_hat| and 8u |gamma| inv_std T. The floors are needed where terms
cancel: no evaluation has a finite error in ulps of a result of 0.

The oracle is itself f64 arithmetic with rounded sums, so what it may err by is
allowed too: ORACLE times the sum of the magnitudes it adds up ("natural
magnitude"). 32u covers its sums over the few hundred values of these tests.
"""

import numpy as np

U = 2.0**-53
ORACLE = 32 * U

# Bits of the significand, and the exponent of the smallest subnormal.
_SIGNIFICAND = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
_SMALLEST = {"f16": -24, "bf16": -133, "f32": -149, "f64": -1074}


def ulp(value, dtype):
    """The spacing of the dtype's numbers at |value|."""
    exponent = np.frexp(np.asarray(value, np.float64))[1] - _SIGNIFICAND[dtype]
    return np.ldexp(1.0, np.maximum(exponent, _SMALLEST[dtype]))


def promised(truth, terms, dtype, f64_units):
    """The service's own bound. terms: |gamma x_hat|, or |gamma| inv_std T."""
    if dtype == "f64":
        return 0.5 * ulp(truth, dtype) + f64_units * U * terms
    return 0.501 * ulp(np.maximum(np.abs(truth), 2.0**-16 * terms), dtype)


def assert_within(actual, truth, bound, what):
    """|actual - truth| <= bound everywhere; says where it is not."""
    actual = np.asarray(actual, np.float64)
    truth = np.asarray(truth, np.float64)
    assert actual.shape == truth.shape, f"{what}: shape {actual.shape}, " \
        f"expected {truth.shape}"
    error = np.abs(actual - truth)
    bound = np.broadcast_to(bound, error.shape)
    wrong = ~(error <= bound)
    if np.any(wrong):
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} beyond the bound; first at "
            f"{at}: got {actual[at]!r}, expected {truth[at]!r} within "
            f"{bound[at]:.3g}")
