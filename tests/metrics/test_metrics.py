"""Prometheus metrics: what a scrape of a real server says."""

import os
import re
import shutil
import subprocess
import time
import urllib.request

import grpc
import numpy as np
import pytest

import generated_stubs  # noqa: F401  (makes batchnorm.v1 importable)
from conftest import ROOT, start_server

from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import session_pb2, tensor_pb2

README = ROOT / "deploy" / "README.md"
MARKS = ("<!-- metrics of a running server -->\n", "<!-- end -->\n")
MODE_TRAIN = 1
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def scrape(server):
    url = re.search(r"metrics on (http://\S+)", server.log()).group(1)
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read().decode()


def samples(text):
    """{(name, labels as a string): value}"""
    found = (SAMPLE.match(line) for line in text.splitlines() if line[:1] != "#")
    return {(name, labels or ""): float(value)
            for name, labels, value in (match.groups() for match in found if match)}


def await_sample(server, name, labels, value):
    """Calls are counted when they have been answered."""
    deadline = time.monotonic() + 10
    while samples(scrape(server)).get((name, labels), 0) != value:
        assert time.monotonic() < deadline, scrape(server)
        time.sleep(0.02)


@pytest.fixture
def server(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--metrics-listen", "127.0.0.1:0",
                      "--kept-input-bytes", "4KiB") as running:
        yield running


@pytest.fixture
def stubs(server):
    with grpc.insecure_channel(server.address) as channel:
        yield pb_grpc.BatchNormServiceStub(channel)


def create(stubs, name):
    stubs.CreateSession(pb.CreateSessionRequest(
        name=name, config=session_pb2.SessionConfig(channels=2)), timeout=10)


def forward(stubs, name, step, rows=64):
    x = tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_F64, shape=[rows, 2],
                          data=np.arange(2.0 * rows).astype("<f8").tobytes())
    request = pb.ForwardRequest(session=name, mode=MODE_TRAIN, step=step, x=x)
    return request, stubs.Forward(request, timeout=10)


def test_calls_are_counted_by_method_and_code(server, stubs):
    for name in ("a", "b", "c"):
        create(stubs, name)
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            stubs.GetSession(pb.GetSessionRequest(name="nobody"), timeout=10)
    name = "batchnormd_calls_total"
    await_sample(server, name, 'code="OK",method="CreateSession"', 3)
    await_sample(server, name, 'code="NOT_FOUND",method="GetSession"', 2)
    now = samples(scrape(server))
    assert now["batchnormd_call_duration_seconds_count", 'method="CreateSession"'] == 3
    assert 0 < now["batchnormd_call_duration_seconds_sum", 'method="CreateSession"'] < 30


def test_bytes_and_kernel_time_grow_with_what_is_sent(server, stubs):
    create(stubs, "bn")
    request, reply = forward(stubs, "bn", 1, rows=100)
    await_sample(server, "batchnormd_request_bytes_total", 'method="Forward"',
                 request.ByteSize())
    await_sample(server, "batchnormd_reply_bytes_total", 'method="Forward"',
                 reply.ByteSize())
    assert 0 < samples(scrape(server))["batchnormd_kernel_seconds_total", ""] < 10
    await_sample(server, "batchnormd_in_flight_bytes", "", 0)


def test_sessions_kept_inputs_and_evictions_are_what_there_is(server, stubs):
    create(stubs, "bn")
    await_sample(server, "batchnormd_sessions", "", 1)
    await_sample(server, "batchnormd_kept_input_bytes", "", 0)
    for step in (1, 2, 3, 4, 5):
        forward(stubs, "bn", step)  # 1 KiB each, and what goes with it
    now = samples(scrape(server))
    assert 1024 <= now["batchnormd_kept_input_bytes", ""] <= 4096
    assert now["batchnormd_evicted_inputs_total", ""] >= 1
    stubs.DeleteSession(pb.DeleteSessionRequest(name="bn"), timeout=10)
    await_sample(server, "batchnormd_sessions", "", 0)
    await_sample(server, "batchnormd_kept_input_bytes", "", 0)


def test_many_sessions_make_no_more_series(server, stubs):
    create(stubs, "first")
    forward(stubs, "first", 1)
    series = len(samples(scrape(server)))
    for i in range(50):
        create(stubs, f"s{i}")
        forward(stubs, f"s{i}", 1)
    await_sample(server, "batchnormd_sessions", "", 51)
    assert len(samples(scrape(server))) == series


def promtool():
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    assert found, "expected promtool by PROMTOOL or on PATH; found none"
    return found


def test_promtool_finds_nothing_to_complain_of(server, stubs):
    create(stubs, "bn")
    forward(stubs, "bn", 1)
    done = subprocess.run([promtool(), "check", "metrics"], input=scrape(server),
                          capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_metrics_are_off_unless_asked_for(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path) as server:
        assert "metrics on" not in server.log()


def test_an_address_that_is_taken_is_named(bin_dir, tmp_path, server):
    taken = re.search(r"metrics on http://(\S+)/metrics", server.log()).group(1)
    done = subprocess.run(
        [str(bin_dir / "batchnormd"), "--listen", "localhost:0", "--store",
         "memory", "--metrics-listen", taken],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"cannot serve metrics on {taken}" in done.stderr


def table_of(text):
    """The metrics of a scrape as a table: name, type, labels, meaning."""
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", text, re.MULTILINE))
    labels = {}
    for name, inside in samples(text):
        family = next(f for f in kinds if name == f or (
            name.startswith(f) and name[len(f):] in ("_bucket", "_sum", "_count")))
        labels.setdefault(family, set()).update(
            set(re.findall(r'(\w+)="', inside)) - {"le", "quantile"})
    rows = [f"| `{name}` | {kinds[name]} | {', '.join(sorted(labels[name]))} | {helps[name]} |\n"
            for name in sorted(kinds)]
    return "\n| metric | type | labels | |\n|---|---|---|---|\n" + "".join(rows)


def test_the_documented_table_is_what_a_server_says(server, stubs):
    create(stubs, "bn")
    forward(stubs, "bn", 1)
    scrape(server)  # the page's own metrics begin with the second look
    text = README.read_text()
    begin = text.index(MARKS[0]) + len(MARKS[0])
    written = text[begin:text.index(MARKS[1], begin)]
    table = table_of(scrape(server))
    if os.environ.get("BN_WRITE_TABLES"):
        README.write_text(text[:begin] + table + text[text.index(MARKS[1], begin):])
    else:
        assert written == table, "write it again: BN_WRITE_TABLES=1"
