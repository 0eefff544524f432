"""Log lines: for people and machines, one an event, never tensors."""

import array
import json
import subprocess

import grpc
import pytest

import raw_client
from conftest import clean_environment, start_server

VALUES = array.array("d", [271828.5, 314159.25, 141421.125])


def calls(server):
    """One call that succeeds and one whose bad name would break a line."""
    with raw_client.dial(server.address) as channel:
        raw_client.evaluate(channel)(
            raw_client.evaluate_request(VALUES), timeout=20)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/batchnorm.v1.BatchNormService/GetSession")(
                raw_client.field(1, b'evil"\n2026 error forged'), timeout=20)


def test_json_lines_are_json_whatever_came(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-format", "json",
                      "--log-level", "debug") as server:
        calls(server)
    lines = [json.loads(line) for line in server.log().splitlines()]
    plain = ["level", "message", "time"]
    of_calls = sorted(plain + ["code", "method", "milliseconds", "reply_bytes",
                               "request_bytes"])
    for line in lines:
        assert sorted(line.keys() - {"error"}) == (
            of_calls if "method" in line else plain)
    fields = [line for line in lines if "method" in line]
    assert [(f["method"], f["code"]) for f in fields] == [
        ("Evaluate", "OK"), ("GetSession", "NOT_FOUND")]
    assert fields[0]["request_bytes"] > 24 and fields[0]["reply_bytes"] > 24
    assert "no session has the name" in fields[1]["error"]
    messages = [line["message"] for line in lines]
    assert f"serves on {server.address}" in messages[0]
    assert sum(m.startswith("Evaluate OK in ") for m in messages) == 1
    assert sum(m.startswith("GetSession NOT_FOUND in ") for m in messages) == 1


def test_human_lines_begin_with_time_and_level(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server:
        calls(server)
    lines = server.log().splitlines()
    for line in lines:
        time, level, _ = line.split(" ", 2)
        assert len(time) == len("2026-01-31T12:00:00.000Z")
        assert level in ("debug", "info", "warning", "error")
    assert not any(line.startswith("2026 error forged") for line in lines)


@pytest.mark.parametrize("sent, logged", [
    ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
    ("00-4bf92f3577b34da6a3ce929d0e0e4736", False),
    ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
    ("x" * 55, False),
])
def test_a_callers_trace_is_in_the_line_of_its_call(bin_dir, tmp_path, sent, logged):
    with start_server(bin_dir, tmp_path, "--log-format", "json",
                      "--log-level", "debug") as server:
        with raw_client.dial(server.address) as channel:
            raw_client.evaluate(channel)(
                raw_client.evaluate_request(VALUES), timeout=20,
                metadata=(("traceparent", sent),))
    [call] = [line for line in map(json.loads, server.log().splitlines())
              if "method" in line]
    assert call.get("traceparent") == (sent if logged else None)
    assert (sent in call["message"]) == logged


def test_bn_passes_its_trace_on(bin_dir, tmp_path):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server:
        done = subprocess.run(
            [str(bin_dir / "bn"), "session", "list", "--server", server.address],
            env=clean_environment(TRACEPARENT=trace), capture_output=True, timeout=30)
        assert done.returncode == 0
    assert f"traceparent {trace}" in server.log()


def test_tensors_are_never_logged(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server:
        calls(server)
    assert not any(str(int(value)) in server.log() for value in VALUES)


def test_calls_are_not_logged_unless_asked(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path) as server:
        calls(server)
    assert "Evaluate" not in server.log()
