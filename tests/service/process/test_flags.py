"""batchnormd's flags and environment: help, defaults, mistakes."""

import subprocess

import pytest

from conftest import clean_environment, start_server


def run(bin_dir, *flags, **environment):
    return subprocess.run(
        [str(bin_dir / "batchnormd"), *flags],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_explains_itself_within_80_columns(bin_dir):
    result = run(bin_dir, "--help")
    assert result.returncode == 0
    for text in ("localhost:50051", "BN_LISTEN", "Example:", "Exit codes:",
                 "neither encrypted nor authenticated"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_version_names_the_program(bin_dir):
    result = run(bin_dir, "--version")
    assert result.returncode == 0
    assert result.stdout.split()[0] == "batchnormd"


@pytest.mark.parametrize("flags, text", [
    (["--no-such-flag"], "--no-such-flag"),
    (["--threads", "-1"], "from 0 to 1024, got -1"),
    (["--threads", "many"], "many"),
    (["--threads", "1000000"], "1024"),
    (["--tensor-threads", "-1"], "from 0 to 1024, got -1"),
    (["--tensor-threads", "1000000"], "1024"),
    (["--max-tensor-bytes", "5XB"], "--max-tensor-bytes"),
    (["--log-room", "-1"], "at least 0, got -1"),
    (["--idle-ttl", "3fortnights"], "--idle-ttl"),
    (["--drain-seconds", "-1s"], "--drain-seconds"),
    (["--log-format", "xml"], "--log-format"),
    (["--listen", "nowhere"], "'nowhere'"),
    (["--metrics-listen", "nowhere"], "expected HOST:PORT, got 'nowhere'"),
    (["--metrics-listen", "unix:/x"], "expected HOST:PORT, got 'unix:/x'"),
    (["--max-message-bytes", "2GiB"], "to 2147483646"),
    (["--listen", "localhost:0", "--port-file", "/no/such/folder/f"],
     "/no/such/folder/f"),
])
def test_a_wrong_flag_ends_with_2_and_a_hint(bin_dir, flags, text):
    result = run(bin_dir, *flags)
    assert result.returncode == 2
    assert text in result.stderr
    assert "--help" in result.stderr


def test_a_wrong_variable_ends_with_2(bin_dir):
    result = run(bin_dir, BN_MAX_SESSIONS="-3")
    assert result.returncode == 2
    assert "--max-sessions" in result.stderr


def test_an_address_that_is_taken_ends_with_1_and_is_named(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path) as server:
        result = run(bin_dir, "--listen", server.address)
    assert result.returncode == 1
    assert server.address in result.stderr


def test_an_address_that_nobody_knows_is_named(bin_dir):
    result = run(bin_dir, "--listen", "nobody.invalid:50051", "--store", "memory")
    assert result.returncode == 1
    assert "nobody.invalid:50051" in result.stderr and "not known" in result.stderr


def test_variables_are_read_and_flags_outrank_them(bin_dir, tmp_path):
    port_file = tmp_path / "addresses"
    socket = f"unix:{tmp_path}/bn.sock"
    process = subprocess.Popen(
        [str(bin_dir / "batchnormd"), "--port-file", str(port_file)],
        env=clean_environment(
            BN_LISTEN=f"localhost:0,{socket}", BN_DRAIN_SECONDS="0",
            BN_PORT_FILE="/no/such/folder/f", BN_KEPT_INPUT_BYTES="64MiB"),
        stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
    addresses = port_file.read_text().split()
    assert addresses[0].startswith("localhost:") and addresses[1] == socket
    assert ", ".join(addresses) in line
