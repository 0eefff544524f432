"""The numbers of `bn eval` against long double arithmetic."""

import numpy as np
import pytest

import reference

ULP = {"f2": 2.0**-10, "f4": 2.0**-23, "f8": 2.0**-52}


def ulp(values, name):
    """The distance between neighbouring numbers of the type at `values`."""
    info = np.finfo(name)
    size = np.maximum(np.abs(np.asarray(values, "f8")), float(info.tiny))
    return ULP[name] * 2.0 ** np.floor(np.log2(size))


def assert_within(actual, truth, bound, what):
    error = np.abs(reference.wide(actual) - truth).astype("f8")
    worst = np.max(error / bound)
    assert worst <= 1, "%s is off by %g of its bound" % (what, worst)


def evaluate(bn, *flags, **arrays):
    bn.savez("in.npz", **arrays)
    bn.ok("eval", "--inputs", "in.npz", "-o", "out.npz", *flags)
    return dict(bn.load("out.npz"))


@pytest.mark.parametrize("name", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(16, 3), (4, 3, 7), (2, 3, 4, 5)])
def test_forward_and_backward(bn, name, shape):
    x, gamma, beta, dy = reference.batch(shape, name)
    results = evaluate(bn, x=x, gamma=gamma, beta=beta, dy=dy)
    truth = reference.Layer(x, gamma, beta, dy)
    for role in ["mean", "var", "inv_std", "dgamma", "dbeta"]:
        value = getattr(truth, role)
        assert results[role].dtype == np.float64
        assert_within(results[role], value, 0.51 * ulp(value, "f8"), role)
    terms = np.maximum(
        np.abs(truth.y),
        2.0**-16 * np.abs(truth.spread(truth.gamma) * truth.x_hat),
    )
    slack = {"f8": 6 * 2.0**-53 * np.abs(truth.y - truth.spread(truth.beta))}
    bound = 0.502 * ulp(terms, name) + slack.get(name, 0)
    assert_within(results["y"], truth.y, bound, "y")
    parts = np.abs(dy - truth.spread(truth.dbeta / truth.n)) + np.abs(
        truth.x_hat * truth.spread(truth.dgamma / truth.n)
    )
    parts = parts * np.abs(truth.spread(truth.gamma * truth.inv_std))
    bound = 0.502 * ulp(np.maximum(np.abs(truth.dx), 2.0**-16 * parts), name)
    assert_within(
        results["dx"],
        truth.dx,
        bound + (8 * 2.0**-53 * parts if name == "f8" else 0),
        "dx",
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis_holds_the_channels(bn, axis):
    x, *_ = reference.batch((4, 3, 5))
    results = evaluate(bn, "--axis", axis, x=x)
    truth = reference.Layer(x, axis=axis)
    np.testing.assert_allclose(results["mean"], truth.mean.astype("f8"), 1e-15)
    np.testing.assert_allclose(
        results["y"], truth.y.astype("f4"), rtol=1e-6, atol=1e-7
    )


def test_two_axes_hold_the_channels_row_by_row(bn):
    x, *_ = reference.batch((4, 3, 5))
    both = evaluate(bn, "--axis", "0,2", x=x)
    rows = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(3, 20)
    one = evaluate(bn, x=rows)
    np.testing.assert_array_equal(both["mean"], one["mean"])
    np.testing.assert_array_equal(
        both["y"].transpose(1, 0, 2).reshape(3, 20), one["y"]
    )


PRESETS = {
    # flags -> (eps, weight of the batch, ddof)
    ("--preset", "torch"): (1e-5, 0.1, 1),
    ("--preset", "torch", "--momentum", "0.3"): (1e-5, 0.3, 1),
    ("--preset", "keras", "--axis", "1"): (1e-3, 0.01, 0),
    ("--preset", "keras", "--momentum", "0.75", "--axis", "1"): (1e-3, 0.25, 0),
    ("--preset", "flax", "--axis", "1"): (1e-5, 0.01, 0),
    ("--preset", "onnx"): (1e-5, 0.1, 0),
    ("--preset", "onnx", "--eps", "0.5"): (0.5, 0.1, 0),
    ("--new-weight", "1.5", "--ddof", "0", "--eps", "0"): (0, 1.5, 0),
    ("--new-weight", "-1"): (1e-5, -1, 1),
    ("--cumulative", "--batch-count", "3"): (1e-5, 0.25, 1),
}


@pytest.mark.parametrize("flags", PRESETS, ids=" ".join)
def test_conventions_of_the_frameworks(bn, flags):
    eps, weight, ddof = PRESETS[flags]
    x, gamma, beta, _ = reference.batch((8, 3, 5), seed=1)
    old_mean, old_var = np.array([1.0, -2, 3]), np.array([2.0, 0.5, 1])
    results = evaluate(
        bn, *flags,
        x=x, weight=gamma, bias=beta, running_mean=old_mean,
        running_var=old_var,
    )  # fmt: skip
    truth = reference.Layer(x, gamma, beta, eps=eps)
    mean, var = truth.running(old_mean, old_var, weight, ddof)
    np.testing.assert_allclose(
        results["running_mean"], mean.astype("f8"), rtol=4e-15
    )
    np.testing.assert_allclose(
        results["running_var"], var.astype("f8"), rtol=4e-15
    )
    np.testing.assert_allclose(
        results["inv_std"], truth.inv_std.astype("f8"), rtol=4e-16
    )


def test_inference_uses_the_running_statistics(bn):
    x, gamma, beta, dy = reference.batch((8, 3, 5), "f8", seed=2)
    mean, var = np.array([1.0, -2, 3]), np.array([2.0, 0.5, 1])
    results = evaluate(
        bn, "--mode", "inference",
        x=x, gamma=gamma, beta=beta, dy=dy, running_mean=mean, running_var=var,
    )  # fmt: skip
    spread = lambda v: np.reshape(reference.wide(v), (1, -1, 1))
    inv_std = 1 / np.sqrt(spread(var) + reference.WIDE(1e-5))
    x_hat = (reference.wide(x) - spread(mean)) * inv_std
    expected = {
        "y": spread(gamma) * x_hat + spread(beta),
        "dx": spread(gamma) * inv_std * dy,
        "dgamma": (x_hat * dy).sum((0, 2)),
        "dbeta": reference.wide(dy).sum((0, 2)),
    }
    for role, value in expected.items():
        np.testing.assert_allclose(
            results[role], value.astype("f8"), rtol=1e-14, atol=1e-14
        )
    assert "running_mean" not in results


def test_only_what_is_asked_for_is_written(bn):
    x, _, _, dy = reference.batch((8, 3))
    results = evaluate(bn, "--outputs", "dweight,var", x=x, dy=dy)
    assert set(results) == {"var", "dgamma"}


def test_without_a_file_results_are_summed_up(bn):
    bn.save("x.npy", np.array([[1.0, 5], [3, np.nan]]))
    out = bn.ok("eval", "--x", "x.npy").out.splitlines()
    assert out[0].split() == [
        "TENSOR", "SHAPE", "DTYPE", "MIN", "MEDIAN", "MAX", "NONFINITE",
    ]  # fmt: skip
    rows = {line.split()[0]: line.split()[1:] for line in out[1:]}
    assert rows["mean"] == ["[2]", "f64", "2", "2", "2", "1"]
    assert rows["y"][-1] == "2"  # the channel of the NaN, and only that


def test_json_has_every_number_exactly(bn):
    x, *_ = reference.batch((8, 3), "f8")
    bn.save("x.npy", x)
    tensors = bn.ok("eval", "--x", "x.npy", "--format", "json").json["tensors"]
    bn.ok("eval", "--x", "x.npy", "-o", "out.npz")
    for name, array in bn.load("out.npz").items():
        assert tensors[name]["shape"] == list(array.shape)
        assert tensors[name]["dtype"] == "f64"
        np.testing.assert_array_equal(tensors[name]["values"], array.ravel())


def test_json_says_what_numbers_cannot(bn):
    bn.save("x.npy", np.array([[np.nan, np.inf], [1, 1]]))
    tensors = bn.ok("eval", "--x", "x.npy", "--format", "json").json["tensors"]
    assert tensors["mean"]["values"] == ["NaN", "Infinity"]


def test_csv_has_a_row_a_tensor(bn):
    bn.save("x.npy", np.array([[1.0, 5], [3, 7]]))
    out = bn.ok("eval", "--x", "x.npy", "--format", "csv").out.splitlines()
    assert out[0] == "tensor,shape,dtype,min,median,max,nonfinite"
    assert out[1].startswith('y,"[2,2]",f64,')
    assert out[2] == "mean,[2],f64,2,6,6,0"


def test_the_servers_refusal_keeps_its_code_and_its_words(bn):
    bn.save("x.npy", np.ones((1, 3), "f4"))
    refused = bn("eval", "--x", "x.npy", "--preset", "torch")
    assert refused.code == 64 + 3
    assert "(INVALID_ARGUMENT TOO_FEW_VALUES)" in refused.complaint["error"]
    assert "--degenerate" in refused.complaint["hint"]


def test_a_refused_flag_points_at_the_help_of_the_command_that_has_it(bn):
    bn.save("x.npy", np.ones((2, 3), "f4"))
    refused = bn("eval", "--x", "x.npy", "--eps", "-1")
    assert refused.code == 64 + 3
    assert "BAD_CONFIG" in refused.complaint["error"]
    assert refused.complaint["hint"].startswith("the command's --help")


def test_degenerate_channels_can_be_allowed(bn):
    bn.save("x.npy", np.full((1, 3), 7, "f4"))
    bn.ok("eval", "--x", "x.npy", "--degenerate", "unit", "-o", "y.npy")
    np.testing.assert_array_equal(bn.load("y.npy"), np.zeros((1, 3), "f4"))


def test_one_running_statistic_is_not_enough(bn_alone):
    bn_alone.save("x.npy", np.ones((2, 3), "f4"))
    bn_alone.save("m.npy", np.ones(3))
    refused = bn_alone("eval", "--x", "x.npy", "--running-mean", "m.npy")
    assert refused.code == 2
    assert refused.complaint["error"] == "running_var is missing"


def test_x_is_needed(bn_alone):
    refused = bn_alone("eval", "--outputs", "y")
    assert refused.code == 2
    assert refused.complaint["error"] == "no x"


def test_a_result_that_there_is_not(bn_alone):
    bn_alone.save("x.npy", np.ones((2, 3), "f4"))
    refused = bn_alone("eval", "--x", "x.npy", "--outputs", "y,z")
    assert refused.code == 2
    assert refused.complaint["error"] == "--outputs: 'z' is not a result"
