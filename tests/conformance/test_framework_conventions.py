"""Every framework's conventions are parameters of one layer.

Expected numbers are the frameworks' published ones, or follow by hand from
their documented formulas; PyTorch's defaults are asked of PyTorch.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

import two_routes
from batchnorm.v1 import batch_norm_service_pb2 as api
from batchnorm.v1 import normalization_pb2 as norm
from two_routes import Batch, Running

ONE_TO_FOUR = np.array([[1.0], [2.0], [3.0], [4.0]])  # mean 2.5, var 1.25


# ---- which variance is averaged --------------------------------------------

@pytest.mark.parametrize("framework, ddof, variance", [
    ("keras-3", 0, 1.25),        # published example, momentum=0
    ("flax", 0, 1.25),
    ("onnx", 0, 1.25),
    ("pytorch", 1, 5.0 / 3.0),
    ("cudnn", 1, 5.0 / 3.0),
    ("tf-fused", 1, 5.0 / 3.0),
], ids=lambda value: value if isinstance(value, str) else "")
def test_running_variance_of_1_2_3_4_with_weight_1(
        open_layer, framework, ddof, variance):
    layer = open_layer(1, new_weight=1.0, running_ddof=ddof)
    result = layer.train(Batch(ONE_TO_FOUR))
    assert result.statistics.var[0] == 1.25, "y never depends on ddof"
    running = layer.running()
    assert (running.mean[0], running.var[0]) == (2.5, variance)


def test_y_does_not_depend_on_the_running_ddof(open_layer):
    x = np.random.default_rng(5).normal(size=(9, 4))
    results = [open_layer(4, running_ddof=ddof)
               .train(Batch(x, dy=x[::-1])) for ddof in (0, 1)]
    for name in ("y", "dx", "dgamma", "dbeta"):
        assert (getattr(results[0], name).tobytes()
                == getattr(results[1], name).tobytes()), name


# ---- what a batch weighs ---------------------------------------------------

@pytest.mark.parametrize("framework, new_weight", [
    ("pytorch momentum=0.1", 0.1),
    ("onnx momentum=0.9", 1 - 0.9),
    ("keras momentum=0.99", 1 - 0.99),
    ("flax momentum=0.99", 1 - 0.99),
    ("cudnn exponentialAverageFactor=0.5", 0.5),
], ids=lambda value: value if isinstance(value, str) else "")
def test_momentum_of_any_framework_is_a_weight_of_the_new_batch(
        open_layer, framework, new_weight):
    layer = open_layer(1, new_weight=new_weight, running_ddof=0)
    layer.train(Batch(ONE_TO_FOUR))
    running = layer.running()
    assert running.mean[0] == nearest(Fraction(new_weight) * Fraction(5, 2))
    assert running.var[0] == nearest(
        1 - Fraction(new_weight) + Fraction(new_weight) * Fraction(5, 4))


def nearest(exact):
    """The double nearest to a fraction (Python's division of integers is)."""
    return exact.numerator / exact.denominator


def test_the_defaults_are_those_of_pytorch(open_layer):
    x = np.random.default_rng(6).normal(3.0, 2.0, size=(16, 2))
    theirs = torch.nn.BatchNorm1d(2, dtype=torch.float64)
    y = theirs(torch.from_numpy(x)).detach().numpy()
    layer = open_layer(2)
    np.testing.assert_allclose(layer.train(Batch(x)).y, y, rtol=1e-13)
    running = layer.running()
    np.testing.assert_allclose(running.mean, theirs.running_mean, rtol=1e-14)
    np.testing.assert_allclose(running.var, theirs.running_var, rtol=1e-14)


# ---- which axes are channels -----------------------------------------------

def by_numpy(x, channel_axes, eps):
    """(x - mean) / sqrt(var + eps) over all other axes, two passes in f64."""
    axes = tuple(a for a in range(x.ndim) if a not in channel_axes)
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(np.mean(centred**2, axes, keepdims=True) + eps)


@pytest.mark.parametrize("framework, sent, axes, eps", [
    ("keras axis=-1", [-1], (3,), 1e-3),
    ("flax axis=-1", [-1], (3,), 1e-5),
    ("flax axis=(1,2)", [1, 2], (1, 2), 1e-5),
    ("flax axis=(-1,0)", [-1, 0], (0, 3), 1e-5),
    ("cudnn PER_ACTIVATION", [1, 2, 3], (1, 2, 3), 1e-5),
    ("onednn eps=1/16", [1], (1,), 1 / 16),
    ("stablehlo feature_index=2", [2], (2,), 1e-5),
], ids=lambda value: value if isinstance(value, str) else "")
def test_channels_lie_on_the_axes_that_the_framework_says(
        open_layer, framework, sent, axes, eps):
    x = np.random.default_rng(7).normal(1.0, 2.0, size=(6, 3, 5, 4))
    channels = int(np.prod([x.shape[axis] for axis in axes]))
    layer = open_layer(channels, channel_axes=sent, eps=eps)
    result = layer.train(Batch(x))
    np.testing.assert_allclose(result.y, by_numpy(x, axes, eps), rtol=1e-12,
                               atol=1e-13)
    np.testing.assert_allclose(
        result.statistics.mean,
        x.mean(tuple(a for a in range(4) if a not in axes)).reshape(-1),
        rtol=1e-13, atol=1e-15)


def test_parameters_of_several_channel_axes_go_row_major(open_layer):
    x = np.random.default_rng(8).normal(size=(50, 2, 3))
    gamma = np.arange(1.0, 7.0).reshape(2, 3)
    layer = open_layer(6, channel_axes=[1, 2], eps=0.0)
    y = layer.train(Batch(x, gamma=gamma)).y
    np.testing.assert_allclose(y.std(axis=0), gamma, rtol=1e-12)


# ---- eps -------------------------------------------------------------------

@pytest.mark.parametrize("eps", [1e-3, 1e-5, 1e-8, 1e-300, 0.0],
                         ids="eps-{:g}".format)
def test_eps_is_used_as_given_and_never_clamped(open_layer, eps):
    """TensorFlow's fused op takes at least 1.001e-5; here 1e-8 is 1e-8."""
    tiny = np.array([[-1.0], [1.0]]) * 2.0**-20  # var 2^-40
    result = open_layer(1, eps=eps).train(Batch(tiny))
    exact = 1 / np.sqrt(np.longdouble(2.0**-40) + np.longdouble(eps))
    assert abs(result.statistics.inv_std[0] - exact) <= exact * 2.0**-53
    expected = (tiny * exact).astype(np.float64)
    np.testing.assert_allclose(result.y, expected, rtol=2**-50)


# ---- one value in a channel ------------------------------------------------

@pytest.mark.parametrize("framework, ddof, policy, running_var", [
    ("keras", 0, norm.DEGENERATE_POLICY_REJECT, 0.9),
    ("flax", 0, norm.DEGENERATE_POLICY_REJECT, 0.9),
    ("onnx", 0, norm.DEGENERATE_POLICY_REJECT, 0.9),
    ("tf-fused", 1, norm.DEGENERATE_POLICY_UNIT_CORRECTION, 0.9),
    ("miopen", 1, norm.DEGENERATE_POLICY_UNIT_CORRECTION, 0.9),
    ("cudnn", 1, norm.DEGENERATE_POLICY_IEEE, float("nan")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_one_value_a_channel_as_the_framework_has_it(
        open_layer, framework, ddof, policy, running_var):
    """y is beta everywhere; what the running variance takes up differs."""
    layer = open_layer(1, running_ddof=ddof, degenerate_policy=policy)
    result = layer.train(Batch(np.array([[7.0]]), gamma=[3.0], beta=[0.25],
                               dy=[[1.0]]))
    assert result.y[0, 0] == 0.25
    assert (result.dx[0, 0], result.dgamma[0], result.dbeta[0]) == (0, 0, 1)
    np.testing.assert_array_equal(layer.running().var, [running_var])


# ---- cumulative ------------------------------------------------------------

def test_cumulative_counts_exactly_past_2_to_the_24(service):
    """float(2^24 + 1) is 2^24 in f32; the weight here is 1/(2^24 + 1)."""
    before = Running(np.array([1.0]), np.array([1.0]), 2**24)
    _, response = two_routes.evaluate(
        service, norm.MODE_TRAIN, Batch(ONE_TO_FOUR),
        norm.Normalization(cumulative=True, running_ddof=0), before,
        [api.OUTPUT_RUNNING_STATISTICS])
    after = two_routes.running_of(response.running_statistics)
    k = 2**24 + 1
    assert after.batch_count == k
    weight = Fraction(1, k)
    exact = 1 + weight * Fraction(3, 2)
    assert abs(Fraction(after.mean[0]) - exact) <= Fraction(1, 2**52)
    exact = 1 + weight * Fraction(1, 4)
    assert abs(Fraction(after.var[0]) - exact) <= Fraction(1, 2**52)


def test_cumulative_is_the_plain_average_of_all_batches(open_layer):
    """PyTorch's momentum=None: of means, and of unbiased variances."""
    layer = open_layer(1, cumulative=True)
    batches = [ONE_TO_FOUR, ONE_TO_FOUR * 3, ONE_TO_FOUR * 5 - 40]
    for x in batches:
        layer.train(Batch(x))
    running = layer.running()
    assert running.batch_count == 3
    np.testing.assert_allclose(
        running.mean, np.mean([x.mean() for x in batches]), rtol=4e-16)
    np.testing.assert_allclose(
        running.var, np.mean([x.var(ddof=1) for x in batches]), rtol=4e-16)
