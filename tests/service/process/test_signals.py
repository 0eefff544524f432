"""How batchnormd ends: SIGTERM, SIGINT, and the impatient."""

import array
import concurrent.futures
import signal
import time

import grpc
import pytest

import raw_client
from conftest import start_server

LARGE = raw_client.evaluate_request(
    array.array("d", [float(i % 1000) for i in range(3_000_000)]))
GOING_AWAY = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]
SMALL = raw_client.evaluate_request(array.array("d", [1.0, 2.0, 4.0]))


def await_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_0(bin_dir, tmp_path, number):
    with start_server(bin_dir, tmp_path) as server:
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
    assert number.name in server.log()
    assert "stopped after 0 calls" in server.log()


def test_sigterm_lets_calls_in_flight_finish(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--log-level", "debug") as server, \
            raw_client.dial(server.address) as channel, \
            concurrent.futures.ThreadPoolExecutor() as pool:
        raw_client.evaluate(channel)(SMALL, timeout=20)
        call = pool.submit(raw_client.evaluate(channel), LARGE, timeout=60)
        time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        # A call that had not arrived is refused; one that had, is answered.
        refused = call.exception()
        assert refused is None or refused.code() in GOING_AWAY
        assert server.process.wait(30) == 0
    assert "stopped after" in server.log()


def test_sigterm_says_not_serving_and_serves_for_the_grace(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--drain-seconds", "700ms") as server, \
            raw_client.dial(server.address) as channel:
        service = "batchnorm.v1.BatchNormService"
        assert raw_client.health(channel) == raw_client.SERVING
        assert raw_client.health(channel, service) == raw_client.SERVING
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await_until(
            lambda: raw_client.health(channel) == raw_client.NOT_SERVING)
        assert raw_client.health(channel, service) == raw_client.NOT_SERVING
        assert raw_client.evaluate(channel)(SMALL, timeout=20)
        assert server.process.wait(20) == 0
        assert time.monotonic() - start >= 0.65


def test_sigint_waits_for_no_load_balancer(bin_dir, tmp_path):
    with start_server(bin_dir, tmp_path, "--drain-seconds", "10m") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0


def test_a_second_signal_ends_the_process_at_once(bin_dir, tmp_path):
    with pytest.raises(AssertionError, match="ended with"):
        with start_server(bin_dir, tmp_path, "--drain-seconds", "10m") as server:
            server.process.send_signal(signal.SIGTERM)
            await_until(lambda: "draining" in server.log())
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == -signal.SIGTERM
