"""What changes on a terminal: colours, progress, Ctrl-C."""

import os
import pty
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

import reference
from kernels import kernel

RED = "\x1b[31;1mFAIL\x1b[0m"
GREEN = "\x1b[32mpass\x1b[0m"


def on_terminal(bn, *words, stream="stdout", **environment):
    """Runs bn with that stream on a terminal; what appeared there."""
    controller, terminal = pty.openpty()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    streams[stream] = terminal
    process = subprocess.Popen(
        bn.command(*words),
        stdin=subprocess.DEVNULL,
        cwd=bn.folder,
        env=bn.environment(**{"TERM": "xterm", **environment}),
        **streams,
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 65536):
            shown += chunk
    except OSError:  # the terminal's last user is gone
        pass
    os.close(controller)
    process.wait(timeout=60)
    return shown.decode()


@pytest.fixture
def comparison(bn):
    x, gamma, beta, dy = reference.batch((8, 3, 5))
    results = kernel(x, gamma, beta, dy)
    results["y"] = results["y"] + 1
    bn.savez("inputs.npz", x=x, gamma=gamma, beta=beta, dy=dy)
    bn.savez("mine.npz", y=results["y"], mean=results["mean"])
    return ("compare", "mine.npz", "--inputs", "inputs.npz")


def test_verdicts_are_coloured_on_a_terminal(bn, comparison):
    shown = on_terminal(bn, *comparison)
    assert RED in shown
    assert GREEN in shown


@pytest.mark.parametrize("refusal", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(bn, comparison, refusal):
    shown = on_terminal(bn, *comparison, **refusal)
    assert "FAIL" in shown
    assert "\x1b" not in shown


def test_an_empty_no_color_turns_nothing_off(bn, comparison):
    assert RED in on_terminal(bn, *comparison, NO_COLOR="")


def test_files_and_pipes_get_no_colours(bn, comparison):
    assert "\x1b" not in bn(*comparison).out


def test_json_is_never_coloured(bn, comparison):
    assert "\x1b" not in on_terminal(bn, *comparison, "--format", "json")


def test_spark_lines_are_shown_on_a_terminal(bn):
    bn.ok("session", "create", "terminal/spark", "--channels", 3)
    bn.save("x.npy", np.array([[1.0, 2, 3], [2, 4, 8]]))
    bn.ok("forward", "x.npy", "--session", "terminal/spark", "-o", "y.npy")
    shown = on_terminal(bn, "session", "show", "terminal/spark")
    assert "▁" in shown and "█" in shown


@pytest.fixture
def silent_server():
    """Accepts connections and never answers."""
    with socket.create_server(("localhost", 0)) as listener:
        yield "localhost:%d" % listener.getsockname()[1]


def test_a_long_call_shows_progress_and_wipes_it(bn, silent_server):
    bn.save("x.npy", np.ones((4, 3), "f4"))
    shown = on_terminal(
        bn, "eval", "--x", "x.npy", "--timeout", "1500ms", stream="stderr",
        BN_SERVER=silent_server,
    )  # fmt: skip
    assert "evaluating x[4,3] f32: 1 s" in shown
    assert "\r\x1b[Kerror: " in shown


def test_progress_is_for_terminals_only(bn, silent_server):
    bn.save("x.npy", np.ones((4, 3), "f4"))
    outcome = bn(
        "eval", "--x", "x.npy", "--timeout", "1200ms", BN_SERVER=silent_server
    )
    assert outcome.code != 0
    assert outcome.err.startswith("error: ")


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupt_exits_with_130_and_leaves_no_file(bn, silent_server):
    bn.save("x.npy", np.ones((4, 3), "f4"))
    process = subprocess.Popen(
        bn.command("eval", "--x", "x.npy", "-o", "y.npy"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=bn.folder,
        env=bn.environment(BN_SERVER=silent_server),
    )
    wait_for(lambda: len(list(bn.folder.iterdir())) == 2)  # x and a temporary
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert [path.name for path in bn.folder.iterdir()] == ["x.npy"]


def test_an_interrupted_demo_leaves_no_session(bn):
    process = subprocess.Popen(
        bn.command("demo", "--epochs", "1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=bn.folder,
        env=bn.environment(),
    )

    def sessions():
        listed = bn.ok("session", "list", "--prefix", "demo/", "--format", "json")
        return listed.json

    wait_for(lambda: len(sessions()) == 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert sessions() == []


def test_an_interrupt_while_reading_exits_with_130(bn):
    process = subprocess.Popen(
        bn.command("eval", "--x", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=bn.environment(),
    )
    # The header is swallowed as soon as bn reads, so the pipe runs empty.
    process.stdin.write(b"\x93NUMPY")
    process.stdin.flush()
    wait_for(lambda: not pending(process.stdin))
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    process.stdin.close()
    assert process.returncode == 130


def pending(pipe):
    """Whether bytes that were written to the pipe are still unread."""
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0] > 0
