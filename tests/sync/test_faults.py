"""Ranks and servers that die or fall silent, at a barrier and elsewhere."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest

from batchnorm.v1 import batch_norm_service_pb2 as pb
from group import (BARRIER_SECONDS, Group, assert_aborted, refusal,
                   same_answers, tensor)
from servers import FaultyServer

PROGRAM = pathlib.Path(__file__).with_name("rank_process.py")


@contextlib.contextmanager
def rank_process(group, rank, *what):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), group.server.address, group.name,
         str(rank), *what], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        process.stdout.close()


def await_done(process, what):
    assert process.stdout.readline().strip() == what


@pytest.fixture
def group(server):
    with Group(server, 3) as group:
        yield group


@pytest.fixture
def undisturbed(bin_dir, tmp_path_factory):
    """What the steps and gradients of a group come to where nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FaultyServer(bin_dir, folder, "--store", "memory") as server:
        with Group(server.start(), 3) as group:
            yield [(group.step(step), group.gradients(step))
                   for step in (1, 2)]


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_rank_killed_before_it_comes_is_missed_within_a_second(group, phase):
    group.step(1)
    step = 2 if phase == "forward" else 1
    request_of = group.forward_of if phase == "forward" else group.backward_of
    with rank_process(group, 1, "join", "wait") as victim:
        await_done(victim, "join")
        waiting = [group.begin(request_of(rank, step)) for rank in (0, 2)]
        group.await_ranks(0, 2)
        victim.kill()
        killed = time.monotonic()
        told = [refusal(call) for call in waiting]
        assert time.monotonic() - killed < 1
    for each in told:
        assert_aborted(each, "RANK_LEFT", ranks="1", step=str(step),
                       phase=phase.capitalize())
    # It comes back under its number, and all go on.
    with rank_process(group, 1, "join", f"{phase}:{step}", "wait") as again:
        await_done(again, "join")
        waiting = [group.begin(request_of(rank, step)) for rank in (0, 2)]
        assert all(call.result(10) for call in waiting)
        await_done(again, f"{phase}:{step}")


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_what_a_rank_brought_before_it_was_killed_counts(
        group, phase, undisturbed):
    step = 1
    if phase == "backward":
        group.step(1)
    request_of = group.forward_of if phase == "forward" else group.backward_of
    with rank_process(group, 1, "join", f"{phase}:{step}") as victim:
        await_done(victim, "join")
        group.await_ranks(1)
        victim.kill()
        waiting = [group.begin(request_of(rank, step)) for rank in (0, 2)]
        answers = [call.result(10) for call in waiting]
    again = group.begin(request_of(1, step)).result(10)
    expected = undisturbed[0][0 if phase == "forward" else 1]
    assert same_answers([answers[0], again, answers[1]], expected)


def test_a_stopped_rank_without_a_join_is_missed_after_the_timeout(group):
    with rank_process(group, 1, "wait") as victim:
        victim.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        waiting = group.begin(group.forward_of(0, 1))
        assert_aborted(refusal(waiting), "RANK_MISSING", ranks="1,2",
                       last_seen="never,never")
        assert BARRIER_SECONDS <= time.monotonic() - began < BARRIER_SECONDS + 1


def test_a_silent_host_is_missed_within_15_seconds(bin_dir, tmp_path):
    with FaultyServer(bin_dir, tmp_path, "--barrier-seconds", "60") as server:
        with Group(server.start(), 3) as group, \
                rank_process(group, 1, "join", "wait") as victim:
            await_done(victim, "join")
            victim.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            waiting = group.begin(group.forward_of(0, 1), timeout=40)
            assert_aborted(refusal(waiting, 40), "RANK_LEFT", ranks="1")
            assert time.monotonic() - stopped < 15


def test_a_server_killed_inside_a_barrier_loses_nothing(
        group, server, undisturbed):
    def backward_with_x(rank, step):  # the server that had it is gone
        return group.backward_of(rank, step, x=group.forward_of(rank, step).x)

    def ask_all(request_of, step):
        calls = [group.persist(request_of(rank, step)) for rank in range(3)]
        return [call.result(30) for call in calls]

    for step, (forwards, gradients) in enumerate(undisturbed, start=1):
        for request_of, expected in ((group.forward_of, forwards),
                                     (backward_with_x, gradients)):
            waiting = [group.persist(request_of(rank, step)) for rank in (0, 2)]
            group.await_ranks(0, 2)
            server.kill()
            server.start()
            answers = [*waiting, group.persist(request_of(1, step))]
            answers = [answers[i].result(30) for i in (0, 2, 1)]
            assert same_answers(answers, expected)
            # What was acknowledged is in the store: no barrier now.
            server.kill()
            server.start()
            assert same_answers(ask_all(request_of, step), expected)
    assert group.session().last_step == 2


def test_two_jobs_do_not_use_one_name(group):
    with rank_process(group, 0, "join", "wait") as first:
        await_done(first, "join")
        stream = group.stubs[1].Join(
            pb.JoinRequest(session=group.name, rank=1, job="another"))
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_a_rank_refused_for_lack_of_bytes_releases_the_others(
        bin_dir, tmp_path):
    with FaultyServer(bin_dir, tmp_path, "--max-bytes-in-flight",
                      "4KiB") as server:
        with Group(server.start(), 2) as group:
            waiting = group.begin(group.forward_of(0, 1))
            group.await_ranks(0)
            told = refusal(group.begin(group.forward_of(
                1, 1, x=tensor(np.ones((1000, 3))))))
            assert told.reason == "TOO_MANY_BYTES_IN_FLIGHT"
            assert_aborted(refusal(waiting), "RANK_REFUSED", rank="1",
                           rank_reason="TOO_MANY_BYTES_IN_FLIGHT")
