"""Sessions from the command line: steps, replays, gradients, views."""

import itertools
import os

import numpy as np
import pytest

import reference

X, GAMMA, BETA, DY = reference.batch((8, 3, 5))
names = ("cli/session-%d" % i for i in itertools.count())


@pytest.fixture
def session(bn):
    """A session with PyTorch's conventions for 3 channels."""
    name = next(names)
    bn.ok("session", "create", name, "--channels", 3, "--preset", "torch")
    bn.save("x.npy", X)
    bn.save("gamma.npy", GAMMA)
    bn.save("dy.npy", DY)
    return name


def show(bn, name):
    return bn.ok("session", "show", name, "--format", "json").json


def forward(bn, name, *flags):
    bn.ok("forward", "x.npy", "--session", name, "-o", "y.npz", *flags)
    return dict(bn.load("y.npz"))


def test_a_step_returns_y_and_the_statistics(bn, session):
    results = forward(bn, session, "--gamma", "gamma.npy")
    truth = reference.Layer(X, GAMMA)
    np.testing.assert_allclose(results["y"], truth.y.astype("f4"), 1e-5, 1e-6)
    np.testing.assert_allclose(results["mean"], truth.mean.astype("f8"), 1e-15)
    assert set(results) == {"y", "mean", "var", "inv_std"}


def test_steps_move_the_running_statistics(bn, session):
    forward(bn, session)
    forward(bn, session)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(2):
        mean, var = reference.Layer(X).running(mean, var, 0.1, 1)
    session = show(bn, session)
    running = session["running_statistics"]
    assert session["last_step"] == 2
    assert running["batch_count"] == 2
    np.testing.assert_allclose(running["mean"], mean.astype("f8"), 1e-15)
    np.testing.assert_allclose(running["var"], var.astype("f8"), 1e-15)


def test_a_step_can_be_repeated_and_counts_once(bn, session):
    first = forward(bn, session, "--step", 1)
    words = ("forward", "x.npy", "--session", session, "--step", 1)
    again = bn.ok(*words, "-o", "y.npz", "--format", "json").json
    assert (again["step"], again["replayed"], again["count"]) == (1, True, 40)
    np.testing.assert_array_equal(bn.load("y.npz")["y"], first["y"])
    text = bn.ok(*words, "-o", "y.npz").out
    assert "%s: step 1 (replayed), 40 values/channel" % session in text
    assert show(bn, session)["last_step"] == 1


def test_backward_of_a_step(bn, session):
    forward(bn, session, "--gamma", "gamma.npy")
    bn.ok("backward", "dy.npy", "--session", session, "--step", 1, "-o", "g.npz")
    results = dict(bn.load("g.npz"))
    truth = reference.Layer(X, GAMMA, dy=DY)
    np.testing.assert_allclose(results["dx"], truth.dx.astype("f4"), 1e-5, 1e-6)
    for name in ("dgamma", "dbeta"):
        value = getattr(truth, name).astype("f8")
        np.testing.assert_allclose(results[name], value, 1e-14)


def test_backward_with_a_resent_input(bn):
    name = next(names)
    bn.ok("session", "create", name, "--channels", 3, "--discard-input")
    for file, array in (("x", X), ("dy", DY)):
        bn.save(file + ".npy", array)
    forward(bn, name)
    words = ("backward", "dy.npy", "--session", name, "--step", 1, "-o", "g.npz")
    refused = bn(*words)
    assert refused.code == 64 + 9
    assert "INPUT_EVICTED" in refused.complaint["error"]
    assert refused.complaint["hint"] == "add the step's own --x and --gamma"
    bn.ok(*words, "--x", "x.npy")


def test_inference_takes_no_step(bn, session):
    forward(bn, session)
    results = forward(bn, session, "--mode", "inference")
    assert set(results) == {"y"}
    assert show(bn, session)["last_step"] == 1
    facts = bn.ok(
        "forward", "x.npy", "--session", session, "--mode", "inference",
        "-o", "y.npz", "--format", "json",
    ).json  # fmt: skip
    assert facts["statistics_step"] == 1


def test_a_weight_for_one_step(bn, session):
    forward(bn, session, "--new-weight", "1")
    running = show(bn, session)["running_statistics"]
    mean = reference.Layer(X).mean.astype("f8")
    np.testing.assert_allclose(running["mean"], mean, 1e-15)


def test_a_gap_in_the_steps_is_refused(bn, session):
    refused = bn("forward", "x.npy", "--session", session, "--step", 5)
    assert refused.code == 64 + 9
    assert "(FAILED_PRECONDITION STEP_GAP)" in refused.complaint["error"]
    assert "bn session show" in refused.complaint["hint"]


def test_another_batch_under_an_old_step_is_refused(bn, session):
    forward(bn, session, "--step", 1)
    bn.save("x.npy", X + 1)
    refused = bn("forward", "x.npy", "--session", session, "--step", 1)
    assert refused.code == 64 + 3
    assert "STEP_REUSED" in refused.complaint["error"]


def test_create_is_idempotent_for_the_same_configuration(bn, session):
    words = ("session", "create", session, "--channels", 3)
    bn.ok(*words, "--preset", "torch")
    refused = bn(*words, "--eps", "0.5")
    assert refused.code == 64 + 6
    assert "(ALREADY_EXISTS CONFIG_DIFFERS)" in refused.complaint["error"]


def test_the_server_makes_a_name(bn):
    made = bn.ok("session", "create", "--channels", 2, "--format", "json").json
    assert made["name"]
    assert show(bn, made["name"])["config"]["channels"] == 2


def test_configuration_reaches_the_server(bn):
    name = next(names)
    bn.ok(
        "session", "create", name, "--channels", 6, "--axis", "0,2",
        "--eps", "0.25", "--cumulative", "--ddof", "0", "--window", "3",
        "--degenerate", "unit", "--non-finite", "propagate", "--discard-input",
    )  # fmt: skip
    assert show(bn, name)["config"] == {
        "channels": 6,
        "channel_axes": [0, 2],
        "eps": 0.25,
        "cumulative": True,
        "running_ddof": 0,
        "degenerate_policy": "unit",
        "world_size": 1,
        "step_window": 3,
        "gradient_reduction": "local",
        "kept_input_policy": "discard",
        "non_finite_policy": "propagate",
    }


def test_list_shows_names_in_order_and_by_prefix(bn):
    for name in ("list/b", "list/a", "listed"):
        bn.ok("session", "create", name, "--channels", 1)
    listed = bn.ok("session", "list", "--prefix", "list/", "--format", "csv").out
    rows = [line.split(",")[0] for line in listed.splitlines()]
    assert rows == ["name", "list/a", "list/b"]


def test_show_is_readable(bn, session):
    forward(bn, session)
    out = bn.ok("session", "show", session).out
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["name"] == session
    assert rows["last step"] == "1"
    assert rows["layer"] == (
        "axis 1, eps 1e-05, new_weight 0.1, ddof 1, degenerate reject"
    )
    assert rows["running mean"].startswith("min ")
    assert "▁" not in out  # spark lines are for terminals


def test_deleted_sessions_are_gone(bn, session):
    assert bn.ok("session", "delete", session).out == ""
    for words in (("show", session), ("delete", session)):
        refused = bn("session", *words)
        assert refused.code == 64 + 5
        assert "SESSION_NOT_FOUND" in refused.complaint["error"]
        assert "bn session list" in refused.complaint["hint"]


def test_a_missing_name_does_not_save_the_others(bn, session):
    refused = bn("session", "delete", "no/such", session)
    assert refused.code == 64 + 5 and "no/such" in refused.complaint["error"]
    assert bn("session", "show", session).code == 64 + 5


def test_one_result_goes_into_one_npy(bn, session):
    bn.ok("forward", "x.npy", "--session", session, "-o", "y.npy")
    assert bn.load("y.npy").shape == X.shape
    words = ("backward", "dy.npy", "--session", session, "--step", 1)
    bn.ok(*words, "-o", "dx.npy")
    assert bn.load("dx.npy").shape == X.shape


def test_a_destination_that_cannot_be_written_takes_no_step(bn, session):
    refused = bn("forward", "x.npy", "--session", session, "-o", "none/y.npy")
    assert refused.code == 2
    assert show(bn, session)["last_step"] == 0


NO_TEXT = os.fsdecode(b"caf\xe9")  # Latin-1, not UTF-8


@pytest.mark.parametrize(
    "words",
    [
        ("session", "create", NO_TEXT, "--channels", "3"),
        ("session", "show", NO_TEXT),
        ("session", "delete", NO_TEXT),
        ("session", "list", "--prefix", NO_TEXT),
        ("forward", "x.npy", "--session", NO_TEXT),
        ("backward", "dy.npy", "--step", "1", "--session", NO_TEXT),
    ],
    ids=lambda words: words[0] if words[0] != "session" else words[1],
)
def test_a_name_that_is_no_text_never_leaves(bn_alone, words):
    refused = bn_alone(*words)
    assert refused.code == 2
    assert "a name has letters, digits" in refused.complaint["error"]


# ---- Groups


def test_a_group_shows_its_ranks_and_who_waits(bn):
    name = next(names)
    bn.ok("session", "create", name, "--channels", 3, "--world-size", 2,
          "--reduce", "sum")
    session = show(bn, name)
    assert session["config"]["world_size"] == 2
    assert session["config"]["gradient_reduction"] == "sum"
    assert session["group"] == {"ranks": [], "missing_ranks": [0, 1], "barriers": []}
    table = bn.ok("session", "show", name, "--format", "table").out
    assert "world size" in table and "nobody" in table


def test_the_world_size_is_changed_from_the_step_that_is_expected(bn):
    name = next(names)
    bn.ok("session", "create", name, "--channels", 3, "--world-size", 2)
    moved = bn("session", "update", name, "--world-size", 3,
                   "--expected-step", 7)
    assert moved.code == 64 + 9
    assert "expected 0, the last step, got 7" in moved.err
    session = bn.ok("session", "update", name, "--world-size", 1,
                    "--expected-step", 0, "--format", "json").json
    assert session["config"]["world_size"] == 1
    assert "group" not in session


def test_ranks_are_numbered_by_a_flag(bn):
    name = next(names)
    bn.save("x.npy", X)
    bn.ok("session", "create", name, "--channels", 3, "--world-size", 2)
    refused = bn("forward", "x.npy", "--session", name, "--step", 1, "--rank",
                 2, "-o", "y.npz")
    assert refused.code == 64 + 3
    assert "expected less than the world size, 2, got 2" in refused.err
