"""`bn compare`: decent float32 kernels pass, and each classic slip fails."""

import json

import numpy as np
import pytest

import reference
from kernels import kernel, one_pass
from tensor_bytes import safetensors, to_bf16

SHAPE = (16, 4, 8, 8)  # 1,024 values a channel


def inputs(mean=0.0, shape=SHAPE, seed=3, axis=1):
    x, gamma, beta, dy = reference.batch(
        shape, mean=mean, seed=seed, axis=axis
    )
    return {"x": x, "gamma": gamma, "beta": beta, "dy": dy}


def compare(bn, given, results, *flags):
    """The exit code and the JSON of a comparison."""
    bn.savez("inputs.npz", **given)
    bn.savez("mine.npz", **results)
    outcome = bn(
        "compare", "mine.npz", "--inputs", "inputs.npz", "--format", "json",
        *flags,
    )  # fmt: skip
    assert outcome.code in (0, 1), outcome.err
    return outcome.code, outcome.json


def failed(verdict):
    return {n for n, t in verdict["tensors"].items() if t["result"] == "fail"}


@pytest.mark.parametrize("mean", [0, 1, 10, 100, 1000])
@pytest.mark.parametrize("shape", [(2, 4, 2, 2), SHAPE, (64, 4, 32, 32)])
def test_a_decent_float32_kernel_passes_with_room_to_spare(bn, mean, shape):
    given = inputs(mean, shape)
    code, verdict = compare(bn, given, kernel(**given), "--preset", "torch")
    assert code == 0
    assert verdict["verdict"] == "pass"
    assert len(verdict["tensors"]) == 9
    shares = [t["worst"]["of_bound"] for t in verdict["tensors"].values()]
    assert max(shares) < 0.5


@pytest.mark.parametrize("mean", [0, 10, 1000])
def test_pytorch_passes(bn, mean):
    torch = pytest.importorskip("torch")
    given = inputs(mean)
    x, gamma, beta = (
        torch.tensor(given[name], requires_grad=True)
        for name in ("x", "gamma", "beta")
    )
    running_mean, running_var = torch.zeros(4), torch.ones(4)
    y = torch.nn.functional.batch_norm(
        x, running_mean, running_var, gamma, beta, training=True
    )
    y.backward(torch.tensor(given["dy"]))
    results = {
        "y": y.detach().numpy(),
        "running_mean": running_mean.numpy(),
        "running_var": running_var.numpy(),
        "grad_input": x.grad.numpy(),
        "dweight": gamma.grad.numpy(),
        "dbias": beta.grad.numpy(),
    }
    code, verdict = compare(bn, given, results, "--preset", "torch")
    assert code == 0, verdict
    assert len(verdict["tensors"]) == 6


@pytest.mark.parametrize("mean", [10, 100, 1e4])
def test_cancellation_in_the_variance_fails(bn, mean):
    given = inputs(mean)
    with np.errstate(invalid="ignore"):
        results = kernel(**given, statistics=one_pass)
    code, verdict = compare(bn, given, results)
    assert code == 1
    assert {"var", "inv_std", "running_var", "y", "dx"} <= failed(verdict)
    assert "mean" not in failed(verdict)
    assert "dbeta" not in failed(verdict)


def test_without_a_mean_nothing_cancels_and_nothing_fails(bn):
    given = inputs(0)
    code, _ = compare(bn, given, kernel(**given, statistics=one_pass))
    assert code == 0


def test_a_biased_running_variance_fails_where_torch_has_an_unbiased_one(bn):
    given = inputs()
    results = kernel(**given, running_ddof=0)
    code, verdict = compare(bn, given, results, "--preset", "torch")
    assert code == 1
    assert failed(verdict) == {"running_var"}
    code, _ = compare(bn, given, results, "--preset", "torch", "--ddof", "0")
    assert code == 0


def test_normalizing_by_the_unbiased_variance_fails(bn):
    given = inputs()
    code, verdict = compare(bn, given, kernel(**given, normalize_ddof=1))
    assert code == 1
    assert {"y", "inv_std", "dx", "dgamma"} <= failed(verdict)


def test_a_missing_eps_fails(bn):
    given = inputs()
    code, verdict = compare(bn, given, kernel(**given, eps=0))
    assert code == 1
    assert {"y", "inv_std", "dx"} <= failed(verdict)


def test_another_frameworks_eps_fails(bn):
    given = inputs()
    results = kernel(**given, eps=1e-3)
    assert compare(bn, given, results)[0] == 1
    assert compare(bn, given, results, "--eps", "1e-3")[0] == 0


def test_another_frameworks_momentum_fails(bn):
    given = inputs()
    results = kernel(**given, weight=0.9)
    code, verdict = compare(bn, given, results, "--preset", "torch")
    assert code == 1
    assert failed(verdict) == {"running_mean", "running_var"}


def test_a_swapped_axis_fails(bn):
    given = inputs(1, (16, 8, 8), axis=1)
    results = kernel(**given, axis=2)
    code, verdict = compare(bn, given, results)
    assert code == 1
    assert {"y", "mean", "var", "dx", "dgamma", "dbeta"} <= failed(verdict)
    assert compare(bn, given, results, "--axis", "2")[0] == 0


def test_a_forgotten_gamma_or_beta_fails(bn):
    given = inputs()
    ones, zeros = np.ones(4, "f4"), np.zeros(4, "f4")
    for slip in ({"gamma": ones}, {"beta": zeros}):
        code, verdict = compare(bn, given, kernel(**{**given, **slip}))
        assert code == 1
        assert "y" in failed(verdict)


def test_a_forgotten_term_of_dx_fails(bn):
    given = inputs()
    results = kernel(**given)
    spread = np.reshape(given["gamma"] * results["inv_std"], (1, -1, 1, 1))
    results["dx"] = spread * given["dy"]
    code, verdict = compare(bn, given, results)
    assert code == 1
    assert failed(verdict) == {"dx"}


def test_the_worst_element_is_named_with_both_values(bn):
    given = inputs()
    results = kernel(**given)
    true = float(reference.Layer(**given).y[7, 2, 3, 1])
    results["y"][7, 2, 3, 1] += np.float32(0.5)
    code, verdict = compare(bn, given, results)
    assert code == 1
    worst = verdict["tensors"]["y"]["worst"]
    assert worst["index"] == [7, 2, 3, 1]
    assert worst["yours"] == results["y"][7, 2, 3, 1]
    assert worst["true"] == pytest.approx(true, rel=1e-15)
    assert verdict["tensors"]["y"]["failed"] == 1
    assert verdict["tensors"]["y"]["max_abs"] == pytest.approx(0.5, rel=1e-5)


def test_measures_agree_with_numpy(bn):
    given = inputs(5)
    results = kernel(**given)
    _, verdict = compare(bn, given, results)
    truth = reference.Layer(**given)
    for name in ("y", "dx", "mean", "var"):
        exact = getattr(truth, name)
        error = np.abs(reference.wide(results[name]) - exact)
        tensor = verdict["tensors"][name]
        assert tensor["max_abs"] == pytest.approx(float(error.max()), rel=1e-6)
        relative = (error / np.abs(exact)).max()
        assert tensor["max_rel"] == pytest.approx(float(relative), rel=1e-6)
        nearest = (results[name] == exact.astype("f4")).sum()
        assert tensor["identical"] == nearest
        assert tensor["elements"] == exact.size


def test_nan_and_infinity_are_counted_apart(bn):
    given = inputs()
    given["x"][3, 1] = np.nan  # one channel
    results = kernel(**given)
    results["y"][0, 0, 0, 0] = np.inf
    code, verdict = compare(bn, given, results)
    y = verdict["tensors"]["y"]
    assert code == 1
    assert (y["nonfinite"], y["true_nonfinite"]) == (1024 + 1, 1024)
    assert y["failed"] == 1
    assert y["worst"]["yours"] == "Infinity"
    assert y["worst"]["of_bound"] == "Infinity"
    assert verdict["tensors"]["mean"]["result"] == "pass"


def test_rtol_and_atol_take_the_place_of_the_bound(bn):
    given = inputs()
    results = kernel(**given, eps=0)
    assert compare(bn, given, results, "--rtol", "1e-2", "--atol", "1e-3")[0] == 0
    code, verdict = compare(bn, given, results, "--rtol", "0", "--atol", "1e-12")
    assert code == 1
    assert verdict["bound"] == {"rtol": 0.0, "atol": 1e-12}


def test_ulps_ask_for_more_than_a_float32_kernel_gives(bn):
    given = inputs(100)
    results = kernel(**given)
    code, verdict = compare(bn, given, results, "--ulps", "1")
    assert code == 1
    assert "y" in failed(verdict)
    assert verdict["bound"] == {"ulps": 1.0, "slack": False}


def test_a_high_condition_is_told_and_ulps_ask_for_more(bn):
    given = inputs(1e4)
    given["dy"] += 100
    bn.savez("inputs.npz", **given)
    bn.savez("mine.npz", dgamma=kernel(**given)["dgamma"])
    words = ("compare", "mine.npz", "--inputs", "inputs.npz")
    outcome = bn.ok(*words)
    assert outcome.err.startswith("note: |x| is 1e+04 standard deviations")
    outcome = bn(*words, "--ulps", "4")
    assert (outcome.code, outcome.err) == (1, "")


def test_the_servers_own_results_are_within_one_ulp(bn):
    given = inputs(1e5)
    bn.savez("inputs.npz", **given)
    bn.ok("eval", "--inputs", "inputs.npz", "-o", "mine.npz")
    bn.ok("compare", "mine.npz", "--inputs", "inputs.npz", "--ulps", "0.502")


@pytest.mark.parametrize("name,limit", [("f2", 6), ("f8", 50)])
def test_other_types_have_their_own_bound(bn, name, limit):
    given = {k: v.astype(name) for k, v in inputs(3).items()}
    truth = reference.Layer(**given)
    good = {r: getattr(truth, r).astype(name) for r in ("y", "dx", "mean", "var")}
    assert compare(bn, given, good)[0] == 0
    step = float(np.finfo(name).eps)
    bad = {**good, "mean": (good["mean"] * (1 + limit * step)).astype(name)}
    code, verdict = compare(bn, given, bad)
    assert code == 1
    assert failed(verdict) == {"mean"}


def test_bfloat16_results(bn):
    given = inputs(1)
    truth = reference.Layer(**given)
    bits = to_bf16(truth.y.astype("f4"))
    bn.savez("inputs.npz", **given)
    for steps, code in ((0, 0), (16, 1)):
        bn.path("mine.safetensors").write_bytes(
            safetensors({"y": ("BF16", (bits + steps).astype("<u2"))})
        )
        words = ("compare", "mine.safetensors", "--inputs", "inputs.npz")
        assert bn(*words).code == code


def test_a_wrong_shape_is_a_no_and_says_so(bn):
    given = inputs()
    results = kernel(**given)
    wrong = {"y": results["y"].reshape(4, 16, 8, 8), "mean": results["mean"][:3]}
    code, verdict = compare(bn, given, wrong)
    assert code == 1
    tensors = verdict["tensors"]
    assert tensors["y"]["problem"] == "shape [4,16,8,8], expected [16,4,8,8]"
    assert tensors["mean"]["problem"] == (
        "shape [3], expected 4 values, one a channel"
    )
    text = bn("compare", "mine.npz", "--inputs", "inputs.npz").out
    assert "y: shape [4,16,8,8], expected [16,4,8,8]" in text


def test_inference_compares_with_the_running_statistics(bn):
    given = inputs(1)
    running = {"running_mean": np.full(4, 0.5), "running_var": np.full(4, 2.0)}
    spread = lambda v: np.reshape(np.asarray(v, "f4"), (1, -1, 1, 1))
    scale = given["gamma"] / np.sqrt(np.float32(2 + 1e-5))
    y = (given["x"] - np.float32(0.5)) * spread(scale) + spread(given["beta"])
    flags = ("--mode", "inference")
    assert compare(bn, {**given, **running}, {"y": y}, *flags)[0] == 0
    assert compare(bn, {**given, **running}, {"y": y})[0] == 1


def test_files_can_be_named_one_by_one(bn):
    given = inputs()
    results = kernel(**given)
    for name, array in given.items():
        bn.save(name + ".npy", array)
    bn.save("mine.npy", results["y"])
    bn.save("dweight.npy", results["dgamma"])
    bn.savez("more.npz", a=results["dx"], b=results["dbeta"])
    verdict = bn.ok(
        "compare", "y=mine.npy", "dweight.npy", "dx=more.npz:a",
        "dbias=more.npz:b", "--x", "x.npy", "--gamma", "gamma.npy",
        "--beta", "beta.npy", "--dy", "dy.npy", "--format", "json",
    ).json  # fmt: skip
    assert set(verdict["tensors"]) == {"y", "dx", "dgamma", "dbeta"}


def test_tables_and_csv_say_the_same_as_json(bn):
    given = inputs()
    results = kernel(**given, eps=0)
    _, verdict = compare(bn, given, results)
    words = ("compare", "mine.npz", "--inputs", "inputs.npz")
    table = bn(*words).out.splitlines()
    rows = {line.split()[0]: line.split()[2] for line in table[1:-1]}
    assert rows == {
        name: {"pass": "pass", "fail": "FAIL"}[tensor["result"]]
        for name, tensor in verdict["tensors"].items()
    }
    assert table[-1].startswith("verdict: FAIL (")
    csv = bn(*words, "--format", "csv").out.splitlines()
    assert csv[0].startswith("tensor,dtype,result,of_bound,max_abs")
    y = dict(zip(csv[0].split(","), csv[1].split(",")))
    assert float(y["max_abs"]) == verdict["tensors"]["y"]["max_abs"]


REFUSED = {
    "no results": (["inputs.npz:x"], "no result has this name"),
    "an archive without results": (["inputs.npz"], "no result in it"),
    "a file without a name": (["x.npy"], "no result has this name"),
    "a result twice": (["mine.npz", "y=x.npy"], "y is given twice"),
    "a gradient without dy": (["dx=x.npy"], "dx without dy"),
    "running statistics in inference": (
        ["running_var=x.npy", "--mode", "inference"],
        "running_var in --mode inference",
    ),
    "ulps and rtol": (["mine.npz", "--ulps", "1", "--rtol", "1"], "excludes"),
    "a negative bound": (["mine.npz", "--ulps", "-1"], "--ulps"),
    "a bound that is no number": (["mine.npz", "--rtol", "nan"], "--rtol"),
    "an infinite bound": (["mine.npz", "--atol", "inf"], "--atol"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_before_any_call(bn_alone, case):
    words, message = REFUSED[case]
    x = np.ones((2, 2), "f4")
    bn_alone.save("x.npy", x)
    bn_alone.savez("inputs.npz", x=x)
    bn_alone.savez("mine.npz", y=x)
    refused = bn_alone("compare", *words, "--x", "x.npy")
    assert refused.code == 2, refused.err
    assert message in refused.complaint["error"]


def test_json_is_exact(bn):
    given = inputs()
    results = kernel(**given)
    bn.savez("inputs.npz", **given)
    bn.savez("mine.npz", **results)
    text = bn.ok(
        "compare", "mine.npz", "--inputs", "inputs.npz", "--format", "json"
    ).out
    worst = json.loads(text)["tensors"]["y"]["worst"]
    assert worst["yours"] == results["y"][tuple(worst["index"])]
