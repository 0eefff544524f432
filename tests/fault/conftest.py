"""Fixtures of the fault tests. --kills and --calls, or BN_FAULT_KILLS and
BN_FAULT_CALLS, make the two large scenarios larger than CI has time for."""

import os
import pathlib
import subprocess

import pytest

import generated_stubs  # noqa: F401  (makes batchnorm.v1 importable)
from servers import FaultyServer

HERE = pathlib.Path(__file__).resolve().parent


SIZES = {"kills": os.environ.get("BN_FAULT_KILLS", "200"),
         "calls": os.environ.get("BN_FAULT_CALLS", "3000")}


def pytest_addoption(parser):
    for name, default in SIZES.items():
        parser.addoption(f"--{name}", type=int, default=int(default),
                         help=f"{name} of the large scenario ({default})")


def size(request, name):
    # The options are unknown where pytest met this file too late for them.
    return request.config.getoption(name, default=int(SIZES[name]))


@pytest.fixture(scope="session")
def kills(request):
    return size(request, "kills")


@pytest.fixture(scope="session")
def calls(request):
    return size(request, "calls")


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory):
    """disk.c, compiled."""
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
         str(library), str(HERE / "disk.c"), "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture
def server(bin_dir, tmp_path):
    with FaultyServer(bin_dir, tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def reference(bin_dir, tmp_path_factory):
    """A server to which nothing happens, and which has no disk either."""
    folder = tmp_path_factory.mktemp("reference")
    with FaultyServer(bin_dir, folder, "--store", "memory") as server:
        yield server.start()


@pytest.fixture
def report(request, capsys):
    """Prints a scenario's counts where the tests are run by a person, too."""
    def say(text):
        with capsys.disabled():
            print(f"\n  {request.node.name}: {text}")
    return say
