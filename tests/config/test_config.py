"""Configuration: flags over variables over a TOML file over defaults."""

import os
import re
import subprocess

import pytest

from conftest import ROOT, clean_environment, start_server

README = ROOT / "server" / "README.md"
MARKS = ("<!-- batchnormd --print-config-table -->\n", "<!-- end -->\n")


def run(bin_dir, *flags, **environment):
    return subprocess.run(
        [str(bin_dir / "batchnormd"), *map(str, flags)],
        env=clean_environment(**environment),
        capture_output=True, text=True, timeout=30)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "bn.toml"
        path.write_text(text)
        return path
    return write


def in_force(bin_dir, *flags, **environment):
    """What --print-config says: {key: (value, origin)}."""
    result = run(bin_dir, "--print-config", *flags, **environment)
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"^([a-z-]+) = (.*?) +# (.*)$", result.stdout, re.MULTILINE)
    return {key: (value, origin) for key, value, origin in lines}


def test_each_value_comes_from_where_the_precedence_says(bin_dir, write):
    path = write('threads = 1\n\nmax-sessions = 5\nidle-ttl = "2h"\n')
    values = in_force(bin_dir, "--config", path, "--threads", "3",
                      BN_THREADS="2", BN_MAX_SESSIONS="7")
    assert values["threads"] == ("3", "flag")
    assert values["max-sessions"] == ("7", "BN_MAX_SESSIONS")
    assert values["idle-ttl"] == ("7200", f"{path}:4:1")
    assert values["max-tensor-bytes"] == ('"1GiB"', "default")


def test_what_is_printed_is_a_file_that_says_the_same(bin_dir, write, tmp_path):
    path = write('listen = ["localhost:0", "unix:/run/a\\"b.sock"]\n'
                 'reflection = false\ndrain-seconds = 2.5\n'
                 'store = "memory"\nport-file = "7"\n')
    first = run(bin_dir, "--print-config", "--config", path)
    again = tmp_path / "again.toml"
    again.write_text(first.stdout)
    second = run(bin_dir, "--print-config", "--config", again)
    assert second.returncode == 0, second.stderr
    third = tmp_path / "third.toml"
    third.write_text(second.stdout)
    strip = lambda text: re.sub(" +#.*", "", text)
    # Once more, since defaults are written as 1GiB, and what was given in bytes.
    assert strip(second.stdout) == strip(
        run(bin_dir, "--print-config", "--config", third).stdout)
    assert 'listen = ["localhost:0", "unix:/run/a\\"b.sock"]' in first.stdout
    assert 'port-file = "7"' in first.stdout


def test_the_file_is_named_by_a_flag_or_by_a_variable(bin_dir, write, tmp_path):
    path = write("threads = 1\n")
    assert in_force(bin_dir, BN_CONFIG=str(path))["threads"][0] == "1"
    other = tmp_path / "other.toml"
    other.write_text("threads = 2\n")
    assert in_force(bin_dir, "--config", other,
                    BN_CONFIG=str(path))["threads"][0] == "2"


def test_a_server_does_what_the_file_says(bin_dir, write, tmp_path):
    path = write(f'listen = ["localhost:0", "unix:{tmp_path}/bn.sock"]\n')
    port_file = tmp_path / "addresses"
    process = subprocess.Popen(
        [str(bin_dir / "batchnormd"), "--config", str(path), "--store", "memory",
         "--drain-seconds", "0", "--port-file", str(port_file)],
        env=clean_environment(), stderr=subprocess.PIPE, text=True)
    process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
    assert port_file.read_text().split()[1] == f"unix:{tmp_path}/bn.sock"


@pytest.mark.parametrize("text, line_column, message", [
    ("threads = 1\nmax-sesions = 5\n", "2:1",
     "unknown key 'max-sesions'; did you mean 'max-sessions'?"),
    ("max_sessions = 5\n", "1:1", "did you mean 'max-sessions'?"),
    ("wombats = 5\n", "1:1", "unknown key 'wombats'; batchnormd --help"),
    ("  threads = -1\n", "1:3", "expected a number from 0 to 1024, got -1"),
    ('threads = "many"\n', "1:1", "many"),
    ("threads = [1, 2]\n", "1:1", "expected one value, got 2"),
    ("threads = 2024-01-01\n", "1:1", "expected a string, a number"),
    ("[limits]\nthreads = 1\n", "1:2", "expected a string, a number"),
    ('log-format = "xml"\n', "1:1", "xml"),
    ('listen = ["localhost:0", "nowhere"]\n', "1:1", "'nowhere'"),
    ('max-message-bytes = "2GiB"\n', "1:1", "to 2147483646"),
    ('idle-ttl = "3fortnights"\n', "1:1", "--idle-ttl: fortnights"),
    ("threads = 1\nthreads = 2\n", "2:1", "threads"),
    ("threads = \n", "1:", "expected value"),
    ('threads = "1\n', "1:", ""),
    ("config = 'other.toml'\n", "1:1", "unknown key 'config'"),
    ("help = true\n", "1:1", "unknown key 'help'"),
])
def test_a_mistake_in_the_file_is_told_with_line_and_column(
        bin_dir, write, text, line_column, message):
    path = write(text)
    result = run(bin_dir, "--check-config", "--config", path)
    assert result.returncode == 2
    assert f"{path}:{line_column}" in result.stderr
    assert message in result.stderr
    assert "hint:" in result.stderr


def test_all_mistakes_are_told_in_order_hidden_ones_too(bin_dir, write):
    path = write("threads = -1\nwombats = 1\nmax-sessions = 0\n")
    result = run(bin_dir, "--check-config", "--config", path,
                 "--max-sessions", "5", BN_THREADS="2")
    assert result.returncode == 2
    assert re.findall(r"bn\.toml:(\d):", result.stderr) == ["1", "2", "3"]


def test_a_server_does_not_start_on_a_wrong_file(bin_dir, write):
    result = run(bin_dir, "--config", write("wombats = 1\n"))
    assert result.returncode == 2 and "wombats" in result.stderr


@pytest.mark.parametrize("path", ["/no/such/file.toml", "/"])
def test_a_file_that_cannot_be_read_is_named(bin_dir, path):
    result = run(bin_dir, "--check-config", "--config", path)
    assert result.returncode == 2
    assert f"cannot read {path}: " in result.stderr


def test_a_right_file_is_called_right(bin_dir, write):
    path = write("# nothing\n")
    result = run(bin_dir, "--check-config", "--config", path)
    assert result.returncode == 0 and result.stdout == f"{path}: ok\n"


@pytest.mark.parametrize("text, message", [
    ('tls-cert = "{folder}/none.pem"\ntls-key = "{folder}/bn.toml"\n', "none.pem"),
    ('tls-cert = "{folder}/bn.toml"\ntls-key = "{folder}/bn.toml"\n', "bn.toml"),
    ('tls-cert = "{folder}/bn.toml"\n', "--tls-cert, --tls-key: expected both"),
    ('tokens = "{folder}/none"\n', "none"),
    ('tokens = "{folder}/bn.toml"\n', "bn.toml"),
    ('tokens = "{folder}/none"\nlisten = "0.0.0.0:50051"\n', "without --tls-cert"),
])
def test_what_a_server_could_not_start_with_is_told_by_a_check(
        bin_dir, write, tmp_path, text, message):
    path = write(text.replace("{folder}", str(tmp_path)))
    result = run(bin_dir, "--check-config", "--config", path)
    assert result.returncode == 2
    assert message in result.stderr and "hint:" in result.stderr


def test_a_wrong_variable_is_named(bin_dir):
    result = run(bin_dir, "--check-config", BN_MAX_SESSIONS="-3")
    assert result.returncode == 2
    assert "BN_MAX_SESSIONS" in result.stderr and "-3" in result.stderr


def test_help_and_documentation_have_the_same_flags(bin_dir):
    table = run(bin_dir, "--print-config-table").stdout
    text = README.read_text()
    begin = text.index(MARKS[0]) + len(MARKS[0])
    written = text[begin:text.index(MARKS[1], begin)]
    if os.environ.get("BN_WRITE_TABLES"):
        README.write_text(text[:begin] + table + text[text.index(MARKS[1], begin):])
    else:
        assert written == table, "write it again: BN_WRITE_TABLES=1"
    flags = set(re.findall(r"`(--[a-z-]+)`", table))
    in_help = set(re.findall(r"^ +(--[a-z-]+) [A-Za-z]", run(bin_dir, "--help").stdout,
                             re.MULTILINE))
    assert flags == in_help - {"--config"}
