"""The batch variance of a million f32 values, at means up to 1e6 times the sd.

Truth is integer arithmetic: every value is an integer over one power of two.
The service must be within 2^-52 of it at any mean, with the same bits for the
same values in N x C, NCHW and NHWC. PyTorch's error on the same data is
printed beside it.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

import two_routes
from batchnorm.v1 import batch_norm_service_pb2 as api
from batchnorm.v1 import normalization_pb2 as norm

MEANS = (0.0, 1e2, 1e3, 1e4, 1e5, 1e6)
CHANNELS = 2
IMAGES, HEIGHT, WIDTH = 64, 128, 128
COUNT = IMAGES * HEIGHT * WIDTH
BOUND = 2.0**-52
EPS = 1e-5

LAYOUTS = ("N x C", "NCHW", "NHWC")
assert COUNT == 2**20


# ---- exact statistics ------------------------------------------------------

def exact_sum(integers):
    """The exact sum of int64 values of up to 53 bits, as a Python integer."""
    return int(np.sum(np.sum(integers.reshape(-1, 1024), axis=1, dtype=np.int64)
                      .astype(object)))


def as_integers(values):
    """int64 values and k with value = integer * 2^-k, exactly."""
    exponents = np.frexp(values[values != 0])[1]
    k = 24 - int(exponents.min())
    scaled = np.ldexp(values.astype(np.float64), k)
    assert np.abs(scaled).max() < 2.0**52
    assert np.array_equal(scaled, np.rint(scaled))
    return scaled.astype(np.int64), k


def exact_mean_and_variance(values):
    integers, k = as_integers(values)
    high, low = integers >> 26, integers & (2**26 - 1)
    total = exact_sum(integers)
    squares = ((exact_sum(high * high) << 52) + (exact_sum(high * low) << 27)
               + exact_sum(low * low))
    n = len(values)
    return (Fraction(total, n << k),
            Fraction(n * squares - total * total, (n * n) << (2 * k)))


def relative_error(value, exact):
    return float(abs(Fraction(float(value)) - exact) / exact)


def inv_std_error(inv_std, exact_variance):
    """Of inv_std^2 (var + eps), which is 1: twice inv_std's own error."""
    square = Fraction(float(inv_std))**2 * (exact_variance + Fraction(EPS))
    return float(abs(square - 1)) / 2


# ---- one data set in three layouts -----------------------------------------

def data(mean):
    random = np.random.default_rng(int(mean) + 1)
    shape = (IMAGES, HEIGHT, WIDTH, CHANNELS)
    return (random.standard_normal(shape) + mean).astype(np.float32)


def in_layouts(nhwc):
    """Layout -> (array, the axis of its channels)."""
    return {"N x C": (nhwc.reshape(-1, CHANNELS), 1),
            "NCHW": (np.ascontiguousarray(nhwc.transpose(0, 3, 1, 2)), 1),
            "NHWC": (nhwc, -1)}


def our_statistics(service, array, axis):
    result, _ = two_routes.evaluate(
        service, norm.MODE_TRAIN, two_routes.Batch(array, "f32"),
        norm.Normalization(channel_axes=[axis], eps=EPS),
        outputs=[api.OUTPUT_STATISTICS])
    return result.statistics


def pytorch_variance(array, axis):
    """What BatchNorm would put into running_var, made the population one."""
    x = torch.from_numpy(array)
    if axis == -1:
        x = x.permute(0, 3, 1, 2)  # channels_last
    mean, var = torch.zeros(CHANNELS), torch.zeros(CHANNELS)
    torch.native_batch_norm(x, None, None, mean, var, True, 1.0, EPS)
    return var.double().numpy() * (COUNT - 1) / COUNT


# ---- the table -------------------------------------------------------------

def worst(values, exact):
    return max(relative_error(v, var) for v, (_, var) in zip(values, exact))


def table_row(mean, ours, theirs):
    cells = [f"{mean:<8.0e}{ours:10.2g}"]
    cells += [f"{theirs[layout]:12.2g}" for layout in LAYOUTS]
    return "".join(cells)


@pytest.mark.parametrize("mean", MEANS, ids="mean-{:.0e}".format)
def test_variance_is_exact_to_the_last_bit_in_every_layout(
        service, report, mean):
    nhwc = data(mean)
    exact = [exact_mean_and_variance(nhwc[..., c].reshape(-1))
             for c in range(CHANNELS)]
    layouts = in_layouts(nhwc)
    ours = {layout: our_statistics(service, *layouts[layout])
            for layout in LAYOUTS}
    theirs = {layout: worst(pytorch_variance(*layouts[layout]), exact)
              for layout in LAYOUTS}
    if mean == MEANS[0]:
        report(f"relative error of the variance, f32, n = 2^20, sd 1 "
               f"(bound {BOUND:.2g})")
        report(f"{'mean':<8}{'ours':>10}" + "".join(
            f"{'torch ' + layout:>12}" for layout in LAYOUTS))
    report(table_row(mean, worst(ours["N x C"].var, exact), theirs))
    for layout in LAYOUTS:
        assert_exact(ours[layout], exact)
        assert_same_bits(ours[layout], ours["N x C"])


def assert_exact(statistics, exact):
    assert statistics.count == COUNT
    assert worst(statistics.var, exact) <= BOUND
    for channel, (mean, var) in enumerate(exact):
        both = (Fraction(float(statistics.mean[channel]))
                + Fraction(float(statistics.mean_lo[channel])))
        assert abs(both - mean) <= abs(mean) * Fraction(2)**-105
        assert inv_std_error(statistics.inv_std[channel], var) <= BOUND


def assert_same_bits(statistics, reference):
    for name in ("mean", "mean_lo", "var", "inv_std"):
        assert (getattr(statistics, name).tobytes()
                == getattr(reference, name).tobytes()), name
