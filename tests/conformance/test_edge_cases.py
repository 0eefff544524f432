"""The edge cases that batch-norm implementations are known to differ on.

Each has one outcome here, the same by Evaluate and by a session unless the
name says which. Expected values are worked out by hand.
"""

import math
import re

import numpy as np
import pytest

import two_routes
from batchnorm.v1 import batch_norm_service_pb2 as api
from batchnorm.v1 import normalization_pb2 as norm
from batchnorm.v1 import session_pb2
from refusals import refused
from two_routes import Batch, Running
from wire_tensors import DTYPES, pack, representable, unpack

IEEE = norm.DEGENERATE_POLICY_IEEE
UNIT_CORRECTION = norm.DEGENERATE_POLICY_UNIT_CORRECTION
TINY = math.ulp(0.0)


def random_batch(shape, seed=1, dtype="f64", gamma=None, beta=None):
    random = np.random.default_rng(seed)
    return Batch(random.normal(size=shape), dtype, gamma, beta,
                 random.normal(size=shape))


def assert_same_bits(one, other):
    assert one.shape == other.shape and one.tobytes() == other.tobytes()


# ---- few values ------------------------------------------------------------

def test_one_value_a_channel_is_refused_where_ddof_is_1(open_layer):
    layer = open_layer(3, running_ddof=1)
    with refused("TOO_FEW_VALUES") as refusal:
        layer.train(Batch(np.zeros((1, 3))))
    assert "1" in refusal.message
    assert layer.running().batch_count == 0


def test_one_value_a_channel_with_ddof_0_gives_beta_and_no_gradient(open_layer):
    layer = open_layer(2, running_ddof=0)
    result = layer.train(Batch(np.array([[5.0, -3.0]]), gamma=[2.0, 3.0],
                               beta=[0.5, -0.5], dy=[[1.0, 2.0]]))
    assert result.y.tolist() == [[0.5, -0.5]]
    assert result.dx.tolist() == [[0.0, 0.0]]
    assert result.dgamma.tolist() == [0.0, 0.0]
    assert result.dbeta.tolist() == [1.0, 2.0]
    running = layer.running()
    np.testing.assert_array_equal(running.var, [0.9, 0.9])
    np.testing.assert_allclose(running.mean, [0.5, -0.3], rtol=2**-52)


def test_one_value_a_channel_with_ieee_and_ddof_1_has_running_var_nan(
        open_layer):
    layer = open_layer(1, running_ddof=1, degenerate_policy=IEEE)
    assert layer.train(Batch([[5.0]], beta=[2.0])).y.tolist() == [[2.0]]
    running = layer.running()
    assert math.isnan(running.var[0]) and running.mean[0] == 0.5


def test_one_value_a_channel_with_unit_correction_has_factor_1(open_layer):
    layer = open_layer(1, running_ddof=1, degenerate_policy=UNIT_CORRECTION)
    layer.train(Batch([[5.0]]))
    assert layer.running().var.tolist() == [0.9]


def test_one_value_a_channel_is_fine_for_inference(open_layer):
    layer = open_layer(2, running_ddof=1, eps=0.0)
    y = layer.inference(Batch([[5.0, -3.0]], gamma=[2.0, 1.0])).y
    assert y.tolist() == [[10.0, -3.0]]


def test_one_image_with_several_pixels_can_be_trained_on(open_layer):
    layer = open_layer(1, eps=0.0)
    result = layer.train(Batch(np.array([[[[1.0, 3.0], [1.0, 3.0]]]])))
    assert result.y.reshape(-1).tolist() == [-1.0, 1.0, -1.0, 1.0]
    assert result.statistics.count == 4


# ---- no values -------------------------------------------------------------

@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (0, 3, 2, 2)],
                         ids=str)
def test_an_empty_batch_leaves_the_statistics_and_has_no_gradient(
        open_layer, shape):
    layer = open_layer(3, cumulative=True)
    result = layer.train(Batch(np.zeros(shape), dy=np.zeros(shape)))
    assert result.y.shape == result.dx.shape == shape
    assert result.dgamma.tolist() == result.dbeta.tolist() == [0.0] * 3
    assert result.statistics.count == 0
    for vector in (result.statistics.mean, result.statistics.var,
                   result.statistics.inv_std):
        assert vector.shape == (3,) and np.isnan(vector).all()
    running = layer.running()
    assert running.mean.tolist() == [0.0] * 3
    assert running.var.tolist() == [1.0] * 3
    assert running.batch_count == 0


def test_an_empty_batch_takes_a_step(open_session):
    layer = open_session(3)
    layer.train(Batch(np.zeros((0, 3))))
    assert layer.step == 1
    layer.train(random_batch((4, 3)))
    assert layer.step == 2
    assert layer.running().batch_count == 1


def test_an_empty_batch_can_be_inferred(open_layer):
    result = open_layer(3).inference(Batch(np.zeros((0, 3))))
    assert result.y.shape == (0, 3)


def test_no_channels_give_empty_results_from_evaluate(service):
    result, response = two_routes.evaluate(
        service, norm.MODE_TRAIN, Batch(np.zeros((4, 0)), dy=np.zeros((4, 0))),
        norm.Normalization())
    assert result.y.shape == result.dx.shape == (4, 0)
    assert list(response.statistics.mean.shape) == [0]
    assert list(response.dgamma.shape) == list(response.dbeta.shape) == [0]


def test_a_session_of_no_channels_is_refused(service):
    with refused("BAD_CONFIG", "config.channels"):
        two_routes.SessionLayer(service, 0, norm.Normalization())


# ---- no variance -----------------------------------------------------------

@pytest.mark.parametrize("value, dtype", [
    (value, dtype) for dtype in DTYPES for value in (0.0, 100.0, 3.0e-5, -1e10)
    if dtype != "f16" or abs(value) < 65504])
def test_a_constant_channel_gives_beta_exactly(open_layer, value, dtype):
    x = representable(np.full((37, 1), value), dtype)
    result = open_layer(1).train(Batch(x, dtype, [7.0], [0.75]))
    assert (result.y == 0.75).all()
    assert result.statistics.var.tolist() == [0.0]


CONSTANT = Batch(np.full((4, 1), 3.0), gamma=[2.0], beta=[0.5],
                 dy=np.array([[1.0], [2.0], [3.0], [4.0]]))


def test_no_variance_and_no_eps_is_refused(open_layer):
    layer = open_layer(1, eps=0.0)
    with refused("ZERO_VARIANCE"):
        layer.train(CONSTANT)
    assert layer.running().batch_count == 0


def test_no_variance_and_no_eps_with_unit_correction_gives_beta(open_layer):
    layer = open_layer(1, eps=0.0, degenerate_policy=UNIT_CORRECTION)
    result = layer.train(CONSTANT)
    assert (result.y == 0.5).all()
    assert result.statistics.inv_std.tolist() == [0.0]
    assert (result.dx == 0).all() and result.dgamma.tolist() == [0.0]


def test_no_variance_and_no_eps_with_ieee_gives_nan(open_layer):
    layer = open_layer(1, eps=0.0, degenerate_policy=IEEE)
    result = layer.train(CONSTANT)
    assert np.isnan(result.y).all()
    assert result.statistics.inv_std.tolist() == [np.inf]


def train_to_running_var_0(layer):
    """Running mean 3 and var 0, by one batch of weight 1."""
    layer.train(Batch(np.full((4, 1), 3.0)), new_weight=1.0)
    assert layer.running().var.tolist() == [0.0]


def test_inference_with_no_variance_and_no_eps_is_ieee_where_asked(open_layer):
    layer = open_layer(1, eps=0.0, degenerate_policy=IEEE)
    train_to_running_var_0(layer)
    y = layer.inference(Batch([[2.0], [3.0], [4.0]])).y.reshape(-1)
    assert y[0] == -np.inf and np.isnan(y[1]) and y[2] == np.inf


def test_inference_with_no_variance_and_no_eps_is_refused_by_default(service):
    with refused("ZERO_VARIANCE"):
        two_routes.evaluate(service, norm.MODE_INFERENCE, Batch([[2.0]]),
                            norm.Normalization(eps=0.0),
                            Running(np.zeros(1), np.zeros(1), 1))


NEGATIVE_RUNNING_VAR = {"new_weight": 2.0, "running_ddof": 0}


def train_to_negative_running_var(layer):
    """(1 - 2) * 1 + 2 * 0.25, as written."""
    layer.train(Batch([[1.0], [2.0]]))
    assert layer.running().var.tolist() == [-0.5]


def test_inference_with_a_negative_running_variance_is_refused(open_session):
    layer = open_session(1, **NEGATIVE_RUNNING_VAR)
    train_to_negative_running_var(layer)
    with refused("ZERO_VARIANCE"):
        layer.inference(Batch([[2.0]]))


def test_inference_with_a_negative_running_variance_is_nan_where_asked(
        open_session):
    layer = open_session(1, degenerate_policy=IEEE, **NEGATIVE_RUNNING_VAR)
    train_to_negative_running_var(layer)
    assert np.isnan(layer.inference(Batch([[2.0]])).y).all()


# ---- eps -------------------------------------------------------------------

@pytest.mark.parametrize("eps", [-1e-5, -TINY, math.inf, math.nan],
                         ids="eps-{:g}".format)
def test_eps_that_is_negative_or_not_finite_is_refused(service, eps):
    bad = norm.Normalization(eps=eps)
    with refused("BAD_CONFIG", "normalization.eps"):
        two_routes.evaluate(service, norm.MODE_TRAIN, Batch([[1.0], [2.0]]),
                            bad)
    with refused("BAD_CONFIG", "config.normalization.eps"):
        two_routes.SessionLayer(service, 1, bad)


def test_no_eps_is_legal_where_there_is_variance(open_layer):
    result = open_layer(1, eps=0.0).train(Batch([[1.0], [3.0]]))
    assert result.y.reshape(-1).tolist() == [-1.0, 1.0]


# ---- NaN and Inf -----------------------------------------------------------

PROPAGATE = {"non_finite_policy": session_pb2.NON_FINITE_POLICY_PROPAGATE}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_a_channel_that_is_not_finite_spoils_itself_alone(open_layer, bad):
    clean = random_batch((6, 3, 2), gamma=[1.0, 2.0, 3.0])
    spoiled = Batch(clean.x.copy(), gamma=clean.gamma, dy=clean.dy)
    spoiled.x[4, 1, 0] = bad
    good = open_layer(3, PROPAGATE).train(clean)
    layer = open_layer(3, PROPAGATE)
    result = layer.train(spoiled)
    for name in ("y", "dx"):
        ours, theirs = getattr(result, name), getattr(good, name)
        assert np.isnan(ours[:, 1]).all()
        assert_same_bits(ours[:, [0, 2]], theirs[:, [0, 2]])
    np.testing.assert_array_equal(result.statistics.mean[1], bad)
    assert math.isnan(result.statistics.var[1])
    assert np.isnan(layer.running().var).tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_a_session_refuses_x_that_is_not_finite_and_says_where(
        open_session, bad):
    layer = open_session(3)
    layer.train(random_batch((6, 3)))
    before = layer.running()
    batch = random_batch((6, 3), seed=2)
    batch.x[4, 1] = bad
    with refused("NON_FINITE_INPUT", "x") as refusal:
        layer.train(batch)
    said = refusal.message + " ".join(refusal.metadata.values())
    assert re.search(r"\b1\b", said) and re.search(r"\b13\b", said), said
    assert_same_bits(layer.running().var, before.var)
    assert layer.running().batch_count == 1


def test_infinities_of_both_signs_have_no_mean(open_layer):
    x = np.array([[math.inf], [-math.inf], [1.0]])
    result = open_layer(1, PROPAGATE).train(Batch(x))
    assert math.isnan(result.statistics.mean[0]) and np.isnan(result.y).all()


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_a_dy_that_is_nan_spoils_its_channels_gradients_alone(
        open_layer, mode):
    clean = random_batch((6, 3))
    spoiled = Batch(clean.x, dy=clean.dy.copy())
    spoiled.dy[2, 1] = math.nan
    good = getattr(open_layer(3), mode)(clean)
    result = getattr(open_layer(3), mode)(spoiled)
    assert np.isnan(result.dgamma).tolist() == [False, True, False]
    assert np.isnan(result.dbeta).tolist() == [False, True, False]
    assert_same_bits(result.y, good.y)
    assert_same_bits(result.dx[:, [0, 2]], good.dx[:, [0, 2]])
    if mode == "train":
        assert np.isnan(result.dx[:, 1]).all()
    else:  # no sum enters an inference's dx
        assert np.isnan(result.dx[:, 1]).tolist() == [
            row == 2 for row in range(6)]


@pytest.mark.parametrize("bad", [math.inf, -math.inf], ids=str)
def test_a_dy_of_loss_scaling_that_overflowed_is_answered(open_layer, bad):
    batch = random_batch((6, 2))
    batch.dy[3, 0] = bad
    result = open_layer(2).train(batch)
    assert result.dbeta[0] == bad and np.isfinite(result.dbeta[1])
    assert not np.isfinite(result.dx[:, 0]).any()
    assert np.isfinite(result.dx[:, 1]).all()


def test_inference_propagates_what_is_not_finite(open_layer):
    x = np.array([[1.0, math.nan], [math.inf, 2.0]])
    y = open_layer(2, eps=0.0).inference(Batch(x)).y
    np.testing.assert_array_equal(y, x)


# ---- weights of the new batch ----------------------------------------------

FIRST = np.array([[1.0], [2.0], [3.0], [4.0]])  # mean 2.5, var 1.25 or 5/3


def test_new_weight_0_changes_nothing_but_the_count(open_layer):
    layer = open_layer(1, new_weight=0.0)
    layer.train(Batch(FIRST))
    running = layer.running()
    assert (running.mean[0], running.var[0]) == (0.0, 1.0)
    assert running.batch_count == 1


def test_new_weight_1_takes_the_batch(open_layer):
    layer = open_layer(1, new_weight=1.0, running_ddof=0)
    for x in (FIRST + 100, FIRST):
        layer.train(Batch(x))
    running = layer.running()
    assert (running.mean[0], running.var[0]) == (2.5, 1.25)
    assert running.batch_count == 2


@pytest.mark.parametrize("weight", [-1.25, -1.0, 2.0, 1e6],
                         ids="weight-{:g}".format)
def test_weights_outside_0_to_1_are_computed_as_written(open_layer, weight):
    layer = open_layer(1, new_weight=weight, running_ddof=0)
    layer.train(Batch(FIRST))
    running = layer.running()
    assert running.mean[0] == weight * 2.5
    assert running.var[0] == (1 - weight) + weight * 1.25


@pytest.mark.parametrize("weight", [math.inf, -math.inf, math.nan], ids=str)
def test_a_weight_that_is_not_finite_is_refused(service, open_session, weight):
    bad = norm.Normalization(new_weight=weight)
    with refused("BAD_CONFIG", "normalization.new_weight"):
        two_routes.evaluate(service, norm.MODE_TRAIN, Batch(FIRST), bad)
    with refused("BAD_CONFIG", "config.normalization.new_weight"):
        two_routes.SessionLayer(service, 1, bad)
    with refused("BAD_NEW_WEIGHT", "new_weight"):
        open_session(1).train(Batch(FIRST), new_weight=weight)


def test_a_forwards_own_weight_is_for_that_step_alone(open_layer):
    layer = open_layer(1, new_weight=0.5, running_ddof=0)
    layer.train(Batch(FIRST), new_weight=1.0)
    assert layer.running().mean.tolist() == [2.5]
    layer.train(Batch(FIRST + 2))
    assert layer.running().mean.tolist() == [3.5]


def test_cumulative_after_two_batches_is_their_plain_average(open_layer):
    layer = open_layer(1, cumulative=True)
    layer.train(Batch(FIRST))
    layer.train(Batch(FIRST * 3 - 1))
    running = layer.running()
    assert running.mean[0] == (2.5 + 6.5) / 2
    np.testing.assert_allclose(running.var, [(5 / 3 + 15) / 2], rtol=2**-52)
    assert running.batch_count == 2


# ---- running statistics that are not there, or not right -------------------

def test_statistics_need_not_be_tracked(service):
    """track_running_stats=False: batch statistics, no buffers, any mode."""
    result, response = two_routes.evaluate(
        service, norm.MODE_TRAIN, Batch(FIRST), norm.Normalization(eps=0.0))
    assert result.statistics.mean.tolist() == [2.5]
    assert not response.HasField("running_statistics")


def test_tracking_can_stop_later_with_weight_0(open_layer):
    layer = open_layer(1, new_weight=1.0, running_ddof=0)
    layer.train(Batch(FIRST))
    result = layer.train(Batch(FIRST + 9), new_weight=0.0)
    assert result.statistics.mean.tolist() == [11.5]
    running = layer.running()
    assert (running.mean[0], running.var[0]) == (2.5, 1.25)


def test_inference_without_running_statistics_is_refused(service):
    with refused("MISSING_INPUT", "running_statistics"):
        two_routes.evaluate(service, norm.MODE_INFERENCE, Batch(FIRST),
                            norm.Normalization())


def evaluate_with(service, **running):
    return service.Evaluate(api.EvaluateRequest(
        mode=norm.MODE_INFERENCE, x=pack(np.ones((4, 10)), "f64"),
        running_statistics=norm.RunningStatistics(**running)))


def vector(length, value=1.0):
    return pack(np.full(length, value), "f64")


@pytest.mark.parametrize("given, missing", [("mean", "var"), ("var", "mean")],
                         ids=lambda name: name)
def test_half_of_the_running_statistics_is_refused(service, given, missing):
    with refused("MISSING_INPUT", f"running_statistics.{missing}"):
        evaluate_with(service, **{given: vector(10)})


@pytest.mark.parametrize("length", [0, 1, 9, 11])
@pytest.mark.parametrize("wrong", ["mean", "var"])
def test_running_statistics_of_another_length_are_refused(
        service, wrong, length):
    vectors = {"mean": vector(10), "var": vector(10), wrong: vector(length)}
    with refused("WRONG_CHANNELS", f"running_statistics.{wrong}") as refusal:
        evaluate_with(service, **vectors)
    assert "10" in refusal.message and str(length) in refusal.message


def test_a_negative_running_variance_is_refused(service):
    with refused("BAD_TENSOR", "running_statistics.var"):
        evaluate_with(service, mean=vector(10), var=vector(10, -1e-9))


@pytest.mark.parametrize("length", [0, 1, 9, 11])
@pytest.mark.parametrize("wrong", ["gamma", "beta"])
def test_parameters_of_another_length_are_refused(open_layer, wrong, length):
    layer = open_layer(10)
    batch = Batch(np.ones((4, 10)), **{wrong: np.ones(length)})
    with refused("WRONG_CHANNELS", wrong) as refusal:
        layer.train(batch)
    assert "10" in refusal.message and str(length) in refusal.message


@pytest.mark.parametrize("channels", [9, 11])
def test_a_batch_of_another_width_is_refused_by_a_session(
        open_session, channels):
    layer = open_session(10)
    with refused("WRONG_CHANNELS", "x") as refusal:
        layer.train(Batch(np.ones((4, channels))))
    assert "10" in refusal.message and str(channels) in refusal.message
    assert layer.running().batch_count == 0


# ---- ranks of x ------------------------------------------------------------

def test_one_dimension_has_no_axis_1(open_layer):
    layer = open_layer(3)
    with refused("BAD_CHANNEL_AXES"):
        layer.train(Batch(np.ones(3)))


def test_one_dimension_of_channels_is_one_value_each(open_layer):
    layer = open_layer(3, channel_axes=[0], running_ddof=0)
    result = layer.train(Batch(np.array([1.0, 2.0, 3.0]), beta=[4.0, 5.0, 6.0]))
    assert result.y.tolist() == [4.0, 5.0, 6.0]
    assert result.statistics.count == 1


def test_a_rank_1_input_as_onnx_has_it_is_one_channel(open_layer):
    """ONNX reads (N) as N x 1: the client sends that shape."""
    result = open_layer(1, eps=0.0).train(Batch(np.array([[1.0], [3.0]])))
    assert result.y.tolist() == [[-1.0], [1.0]]


@pytest.mark.parametrize("shape", [[], [1] * 9, [-2, 3], [2, -3]], ids=str)
def test_shapes_that_are_no_batch_are_refused(service, shape):
    x = pack(np.zeros(6), "f64")
    del x.shape[:]
    x.shape.extend(shape)
    with refused("BAD_TENSOR"):
        service.Evaluate(api.EvaluateRequest(mode=norm.MODE_TRAIN, x=x))


# ---- the same bits ---------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_and_order_do_not_change_a_bit(open_layer, dtype):
    random = np.random.default_rng(3)
    x = representable(random.normal(40.0, 3.0, size=(8, 5, 6, 7)), dtype)
    dy = representable(random.normal(size=x.shape), dtype)
    nchw = open_layer(5).train(Batch(x, dtype, dy=dy))
    nhwc = open_layer(5, channel_axes=[-1]).train(Batch(
        x.transpose(0, 2, 3, 1), dtype, dy=dy.transpose(0, 2, 3, 1)))
    turned = open_layer(5).train(Batch(x[::-1], dtype, dy=dy[::-1]))
    for name in ("y", "dx"):
        ours = np.ascontiguousarray(getattr(nchw, name))
        assert_same_bits(
            np.ascontiguousarray(getattr(nhwc, name).transpose(0, 3, 1, 2)),
            ours)
        assert_same_bits(np.ascontiguousarray(getattr(turned, name)[::-1]),
                         ours)
    for other in (nhwc, turned):
        assert_same_bits(other.dgamma, nchw.dgamma)
        assert_same_bits(other.dbeta, nchw.dbeta)
        assert_same_bits(other.statistics.var, nchw.statistics.var)


# ---- ranges ----------------------------------------------------------------

PLUS_MINUS = np.array([[-1.0], [1.0]])


@pytest.mark.parametrize("dtype, size", [
    ("f32", 1e30), ("f32", 1e-40), ("bf16", 1e30), ("bf16", 1e-38),
    ("f16", 6e4), ("f16", 6e-8), ("f64", 1e200), ("f64", 1e-200)],
    ids=lambda value: str(value))
def test_values_at_the_ends_of_a_range_are_normalized(open_layer, dtype, size):
    x = representable(PLUS_MINUS * size, dtype)
    y = open_layer(1, eps=0.0).train(Batch(x, dtype)).y
    assert y.astype(np.float64).reshape(-1).tolist() == [-1.0, 1.0]


def test_sums_of_f16_do_not_overflow(open_layer):
    x = np.full((4096, 1), 60000.0)
    x[::2] = 50016.0
    result = open_layer(1, eps=0.0).train(Batch(x, "f16"))
    assert result.statistics.mean.tolist() == [55008.0]
    assert result.statistics.var.tolist() == [4992.0**2]


@pytest.mark.parametrize("mean", [1e4, 1e6], ids="mean-{:g}".format)
def test_a_large_mean_does_not_cancel(open_layer, mean):
    x = PLUS_MINUS.repeat(64, axis=0) + mean
    result = open_layer(1, eps=0.0).train(Batch(x, "f32"))
    assert result.statistics.var.tolist() == [1.0]
    assert np.array_equal(result.y, np.sign(x - mean))


# ---- gamma and dy ----------------------------------------------------------

def test_gamma_0_gives_beta_no_dx_and_yet_a_dgamma(open_layer):
    batch = random_batch((8, 1), gamma=[0.0], beta=[1.5])
    result = open_layer(1).train(batch)
    assert (result.y == 1.5).all() and (result.dx == 0).all()
    x_hat = (batch.x - batch.x.mean()) / np.sqrt(batch.x.var() + 1e-5)
    np.testing.assert_allclose(result.dgamma, [np.sum(batch.dy * x_hat)],
                               rtol=1e-13)


@pytest.mark.parametrize("gamma", [-1.0, -0.125, 2.0**40, -(2.0**200)],
                         ids="gamma-{:g}".format)
def test_gamma_may_be_negative_or_huge(open_layer, gamma):
    """A power of two scales y and dx exactly, and dgamma not at all."""
    plain, scaled = random_batch((8, 1)), random_batch((8, 1), gamma=[gamma])
    one = open_layer(1).train(plain)
    other = open_layer(1).train(scaled)
    assert_same_bits(other.y + 0.0, gamma * one.y + 0.0)
    assert_same_bits(other.dx + 0.0, gamma * one.dx + 0.0)
    assert_same_bits(other.dgamma, one.dgamma)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_dy_moves_nothing(open_layer, dtype):
    x = representable(random_batch((32, 2)).x, dtype)
    dy = np.full((32, 2), 0.1875)
    result = open_layer(2).train(Batch(x, dtype, dy=dy))
    assert (result.dx == 0).all()
    assert result.dgamma.tolist() == [0.0, 0.0]
    assert result.dbeta.tolist() == [6.0, 6.0]


# ---- doing it again --------------------------------------------------------

def test_an_inference_gradient_can_be_repeated(open_layer):
    layer = open_layer(3)
    batch = random_batch((6, 3), gamma=[1.0, 2.0, 3.0])
    layer.train(batch)
    first, second = layer.inference(batch), layer.inference(batch)
    for name in ("y", "dx", "dgamma", "dbeta"):
        assert_same_bits(getattr(first, name), getattr(second, name))
    assert layer.running().batch_count == 1


def test_a_backward_can_be_repeated_with_any_dy(open_session):
    layer = open_session(3)
    batch = random_batch((6, 3))
    layer.train(batch)
    running = layer.running()
    doubled = Batch(batch.x, dy=batch.dy * 2)
    first = layer.backward(batch)
    other = layer.backward(doubled)
    assert layer.backward(batch) == first
    assert_same_bits(unpack(other.dx), unpack(first.dx) * 2)
    assert_same_bits(layer.running().mean, running.mean)
