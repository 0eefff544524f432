"""Words that bn does not know, help, the environment, exit codes."""

import subprocess

import numpy as np
import pytest

COMMANDS = {
    "eval": "bn eval --x",
    "compare": "bn compare mine.npz",
    "forward": "bn forward x.npy",
    "backward": "bn backward dy.npy",
    "session": "bn session create",
    "session create": "bn session create",
    "session list": "bn session list",
    "session show": "bn session show",
    "session delete": "bn session delete",
    "health": "bn health",
    "demo": "bn demo",
    "version": "bn version",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits_a_terminal(bn_alone, command):
    outcome = bn_alone.ok(*command.split(), "--help")
    assert COMMANDS[command] in outcome.out
    assert outcome.err == ""
    assert max(len(line) for line in outcome.out.splitlines()) <= 80


def test_the_list_of_commands_fits_a_terminal(bn_alone):
    lines = bn_alone.ok("--help").out.splitlines()
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)


@pytest.mark.parametrize("words", [["version"], ["eval", "--x", "x.npy"]])
def test_a_result_that_cannot_be_printed_is_an_error(bn, words):
    bn.save("x.npy", np.arange(6, dtype="f4").reshape(3, 2))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            bn.command(*words),
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=bn.folder,
            env=bn.environment(),
            timeout=60,
        )
    assert done.returncode == 2
    assert b"standard output: cannot be written" in done.stderr


def test_help_of_the_whole_names_every_command(bn_alone):
    out = bn_alone.ok("--help").out
    for command in COMMANDS:
        assert command.split()[0] in out
    assert "Exit codes" in out


MISTYPED = {
    "a command": (["evla"], "bn: unknown command 'evla'", "did you mean eval?"),
    "a nested command": (
        ["session", "lst"],
        "bn session: unknown command 'lst'",
        "did you mean list?",
    ),
    "an option": (
        ["eval", "--gama", "g.npy"],
        "bn eval: unknown option '--gama'",
        "did you mean --gamma?",
    ),
    "a global option": (
        ["health", "--sever=x"],
        "bn health: unknown option '--sever=x'",
        "did you mean --server?",
    ),
    "something else": (
        ["train"],
        "bn: unknown command 'train'",
        "`bn --help` shows what there is",
    ),
    "an argument too many": (
        ["health", "now"],
        "bn health: unknown argument 'now'",
        "`bn health --help` shows what there is",
    ),
    "a file without its flag": (
        ["eval", "x.npy"],
        "bn eval: unknown argument 'x.npy'",
        "did you mean --x x.npy?",
    ),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_word_gets_the_nearest_known_one(bn_alone, case):
    words, error, hint = MISTYPED[case]
    refused = bn_alone(*words)
    assert refused.code == 2
    assert refused.out == ""
    assert refused.complaint["error"] == error
    assert refused.complaint["hint"] == hint


MISUSED = {
    "no command": ([], "A subcommand is required"),
    "no session command": (["session"], "A subcommand is required"),
    "no session": (["forward", "x.npy"], "--session is required"),
    "no step": (["backward", "x.npy", "--session", "a"], "--step is required"),
    "no channels": (["session", "create", "a"], "--channels is required"),
    "a value missing": (["eval", "--x"], "--x"),
    "a word for a number": (["eval", "--eps", "small"], "--eps"),
    "an unknown format": (["health", "--format", "xml"], "--format"),
    "an unknown preset": (["eval", "--preset", "caffe"], "--preset"),
    "an unknown mode": (["eval", "--mode", "test"], "--mode"),
    "a ddof of 2": (["eval", "--ddof", "2"], "--ddof"),
    "a timeout of nothing": (["health", "--timeout", "0"], "--timeout '0'"),
    "a timeout in words": (["health", "--timeout", "soon"], "--timeout 'soon'"),
    "momentum alone": (
        ["eval", "--x", "x.npy", "--momentum", "0.1"],
        "--momentum without --preset",
    ),
    "two averages": (
        ["eval", "--x", "x.npy", "--cumulative", "--new-weight", "1"],
        "--cumulative and --new-weight",
    ),
}


@pytest.mark.parametrize("case", MISUSED)
def test_misuse_is_told_with_exit_code_2(bn_alone, case):
    words, message = MISUSED[case]
    bn_alone.save("x.npy", np.ones((2, 2), "f4"))
    refused = bn_alone(*words)
    assert refused.code == 2, refused.err
    assert refused.out == ""
    assert message in refused.complaint["error"]


def test_health_is_a_yes(bn):
    assert bn.ok("health").out.split() == [
        "SERVER", "STATUS", bn.address, "SERVING",
    ]  # fmt: skip
    json = bn.ok("health", "--format", "json").json
    assert json == {"server": bn.address, "status": "SERVING"}


def test_health_of_a_service(bn):
    service = "batchnorm.v1.BatchNormService"
    assert bn.ok("health", "--service", service).code == 0
    unknown = bn("health", "--service", "nobody")
    assert unknown.code == 1
    assert "SERVICE_UNKNOWN" in unknown.out


def test_nobody_there_is_told_with_what_to_do(bn_alone):
    refused = bn_alone("health")
    assert refused.code == 64 + 14
    assert refused.complaint["error"] == "no server at localhost:1 (UNAVAILABLE)"
    assert "batchnormd" in refused.complaint["hint"]


def test_a_silent_server_ends_in_time(bn_alone):
    import socket

    with socket.create_server(("localhost", 0)) as listener:
        address = "localhost:%d" % listener.getsockname()[1]
        refused = bn_alone("health", "--server", address, "--timeout", "300ms")
    assert refused.code in (64 + 4, 64 + 14)


def test_a_flag_goes_before_the_environment(bn):
    assert bn("health", BN_SERVER="localhost:1").code == 64 + 14
    bn.ok("health", "--server", bn.address, BN_SERVER="localhost:1")
    bn.ok("--server", bn.address, "health", BN_SERVER="localhost:1")


def test_the_environment_mirrors_flags(bn):
    bn.save("x.npy", np.array([[1.0, 2], [3, 4]]))
    made = bn.ok("eval", "--x", "x.npy", BN_FORMAT="json", BN_EPS="3").json
    assert made["tensors"]["inv_std"]["values"] == [0.5, 0.5]
    made = bn.ok("eval", "--x", "x.npy", BN_FORMAT="json", BN_AXIS="0").json
    assert made["tensors"]["mean"]["values"] == [1.5, 3.5]
    preset = {"BN_PRESET": "keras", "BN_MOMENTUM": "0.75", "BN_AXIS": "1"}
    made = bn.ok(
        "session", "create", "--channels", 2, "--format", "json", **preset
    ).json
    assert made["config"]["new_weight"] == 0.25
    assert bn("eval", "--x", "x.npy", BN_FORMAT="xml").code == 2


def test_version_needs_no_server(bn_alone):
    facts = bn_alone.ok("version", "--format", "json").json
    assert facts["program"] == "bn"
    assert facts["api"] == "batchnorm.v1"
    assert bn_alone.ok("--version").out.strip() == facts["version"]


def test_notes_go_to_standard_error(bn):
    bn.save("x.npy", np.array([[1.0, 2], [3, 4]]))
    outcome = bn.ok(
        "eval", "--x", "x.npy", "--preset", "tf_fused", "--eps", "0",
        "--format", "json",
    )  # fmt: skip
    assert outcome.err.startswith("note: tf_fused raises eps")
    assert outcome.json["tensors"]


def test_unix_sockets_are_servers_too(bn):
    # The address form is the client library's; here that bn passes it on.
    refused = bn("health", "--server", "unix:" + str(bn.path("none.sock")))
    assert refused.code == 64 + 14


def test_a_closed_standard_output_does_not_hang(bn):
    process = subprocess.Popen(
        bn.command("session", "list"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=bn.environment(),
    )
    process.stdout.close()
    process.wait(timeout=30)
