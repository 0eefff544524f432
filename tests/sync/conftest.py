"""Fixtures of the group tests: a server that can be killed, and what its ranks
call."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/fault"), str(ROOT / "client/examples")]

import generated_stubs  # noqa: E402,F401  (makes batchnorm.v1 importable)
from servers import FaultyServer  # noqa: E402
from group import BARRIER_SECONDS  # noqa: E402


@pytest.fixture
def server(bin_dir, tmp_path):
    """Its ranks wait for each other for BARRIER_SECONDS."""
    with FaultyServer(bin_dir, tmp_path, "--barrier-seconds",
                      str(BARRIER_SECONDS)) as server:
        yield server.start()


@pytest.fixture
def report(request, capsys):
    """Prints a scenario's counts where the tests are run by a person, too."""
    def say(text):
        with capsys.disabled():
            print(f"\n  {request.node.name}: {text}")
    return say
