"""Log lines: for people and machines, one an event, never tensors."""

import array
import json

import grpc
import pytest

import raw_client
from conftest import start_server

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
    for line in lines:
        assert sorted(line) == ["level", "message", "time"]
    messages = [line["message"] for line in lines]
    assert f"serves on {server.address}" in messages[0]
    assert sum(m.startswith("Evaluate code 0 in ") for m in messages) == 1
    assert sum(m.startswith("GetSession code ") for m in messages) == 1


def test_human_lines_begin_with_time_and_level(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server:
        calls(server)
    lines = server.log().splitlines()
    for line in lines:
        time, level, _ = line.split(" ", 2)
        assert len(time) == len("2026-01-31T12:00:00.000Z")
        assert level in ("debug", "info", "warning", "error")
    assert not any(line.startswith("2026 error forged") for line in lines)


def test_tensors_are_never_logged(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server:
        calls(server)
    assert not any(str(int(value)) in server.log() for value in VALUES)


def test_calls_are_not_logged_unless_asked(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path) as server:
        calls(server)
    assert "Evaluate" not in server.log()
