"""What every Python test shares: the binaries under test and a real server.

    BN_BIN_DIR   where batchnormd and bn are (default: build/release/bin)

`server` is one batchnormd for the whole run, on a free loopback port, started
with its defaults and stopped by SIGTERM; the run fails if it does not end
cleanly. A test that needs other flags starts its own with `start_server`.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 30


def clean_environment(**extra):
    """This process's environment without BN_*, so that tests say what they set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BN_")}
    return {**kept, **extra}


class Server:
    """A running batchnormd. `address` is its first listener, as host:port."""

    def __init__(self, process, addresses, log_path):
        self.process = process
        self.addresses = addresses
        self.address = addresses[0]
        self.log_path = log_path

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        """Ends the server by SIGTERM and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "still running %d s after SIGTERM" % STOP_SECONDS


def read_addresses(port_file):
    """The addresses in the file, or none while it is not completely written."""
    try:
        text = port_file.read_text()
    except FileNotFoundError:
        return []
    return text.split() if text.endswith("\n") else []


def await_addresses(process, port_file, log_path):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        addresses = read_addresses(port_file)
        if addresses:
            return addresses
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise RuntimeError(
        "batchnormd named no address; exit code %s, log:\n%s"
        % (process.returncode, log_path.read_text(errors="replace"))
    )


@contextlib.contextmanager
def start_server(bin_dir, folder, *flags, listen="localhost:0"):
    """Runs a batchnormd of one's own; `folder` takes its port file and log."""
    port_file = folder / "addresses"
    log_path = folder / "batchnormd.log"
    command = [bin_dir / "batchnormd", "--listen", listen]
    command += ["--port-file", port_file, "--drain-seconds", "0"]
    command += ["--data-dir", folder / "data", *flags]
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
        )
    server = Server(
        process, await_addresses(process, port_file, log_path), log_path
    )
    try:
        yield server
    finally:
        code = server.stop()
    assert code == 0, "batchnormd ended with %s:\n%s" % (code, server.log())


@pytest.fixture(scope="session")
def bin_dir():
    return pathlib.Path(
        os.environ.get("BN_BIN_DIR", ROOT / "build" / "release" / "bin")
    ).resolve()


@pytest.fixture(scope="session")
def environment():
    """clean_environment, for tests that start programs."""
    return clean_environment


@pytest.fixture(scope="session")
def server(bin_dir, tmp_path_factory):
    with start_server(bin_dir, tmp_path_factory.mktemp("server")) as running:
        yield running
