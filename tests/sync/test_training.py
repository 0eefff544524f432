"""Four workers train in sync while they and the server are killed: nothing of
what they are told differs from a run in which nothing happens."""

import contextlib
import os
import pathlib
import random
import signal
import sys
import threading
import time

import grpc
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "client/examples/group_training"))

from batchnorm.v1 import batch_norm_service_pb2 as pb  # noqa: E402
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc  # noqa: E402
from batchnorm.v1 import normalization_pb2, session_pb2  # noqa: E402
from servers import FaultyServer, dial  # noqa: E402
import network  # noqa: E402
from sync_layer import tensor  # noqa: E402
from train import SESSIONS, Training  # noqa: E402

DIGITS = ROOT / "tests/data/digits.csv.gz"
STEPS = 30
WORKERS = 4


@pytest.fixture(autouse=True, scope="module")
def paths_of_workers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield


@contextlib.contextmanager
def trained(server, steps=STEPS, workers=WORKERS, disturb=None):
    training = Training(server.address, DIGITS, workers)
    try:
        if disturb is not None:
            disturb(training)
        training.run(steps)
        yield training
    finally:
        training.close()


def digests(training):
    return [[[(session, step, phase, digest)
              for session, step, phase, _, _, digest in record]
             for record in ranks] for ranks in training.records]


def running_statistics(server):
    with dial(server.address) as channel:
        stub = pb_grpc.BatchNormServiceStub(channel)
        return [stub.GetSession(pb.GetSessionRequest(name=name),
                                timeout=30).session.running_statistics
                .SerializeToString(deterministic=True) for name in SESSIONS]


@pytest.fixture(scope="module")
def undisturbed(bin_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with FaultyServer(bin_dir, folder, "--store", "memory") as server:
        with trained(server.start()) as training:
            yield training, running_statistics(server)


class Monkey:
    """Kills a worker or the server now and then; every other time while ranks
    wait at a barrier for one that has been stopped."""

    def __init__(self, server, training, kills):
        self.server, self.training, self.kills = server, training, kills
        self.random = random.Random(3)
        self.counts = {"worker": 0, "server": 0, "inside": 0}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    @property
    def done(self):
        return self.counts["worker"] + self.counts["server"] >= self.kills

    def run(self):
        for turn in range(4 * self.kills):
            time.sleep(self.random.uniform(0.02, 0.1))
            if self.ended.is_set() or self.done:
                return
            rank = self.random.randrange(WORKERS)
            if turn % 2 == 0:
                self.kill_worker(rank)
            else:
                self.kill_inside(rank, turn // 2 % 3)

    def kill_inside(self, rank, whom):
        stopped = self.training.workers[rank].process
        stopped.send_signal(signal.SIGSTOP)
        present = self.await_barrier_without(rank)
        if whom == 0 or not present:
            self.kill_worker(rank)
        elif whom == 1:
            self.kill_worker(self.random.choice(present))
        else:
            self.kill_server()
        self.counts["inside"] += bool(present)
        stopped.send_signal(signal.SIGCONT)

    def kill_worker(self, rank):
        self.training.workers[rank].process.kill()
        self.counts["worker"] += 1

    def kill_server(self):
        self.server.kill()
        self.counts["server"] += 1
        self.server.start()

    def await_barrier_without(self, rank):
        """The ranks that wait for this one, once there are any."""
        with dial(self.server.address) as channel:
            stub = pb_grpc.BatchNormServiceStub(channel)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline and not self.ended.is_set():
                for name in SESSIONS:
                    barriers = stub.GetSession(
                        pb.GetSessionRequest(name=name),
                        timeout=5).session.group.barriers
                    if barriers and rank in barriers[0].missing_ranks:
                        return list(barriers[0].present_ranks)
                time.sleep(0.005)
        return []


def unleash(server, training):
    """A monkey; steps are slow until it is done, so that it has the time."""
    training.monkey = monkey = Monkey(server, training, kills=16)
    training.on_step = lambda step: time.sleep(0 if monkey.done else 0.2)
    monkey.thread.start()


def test_kills_of_workers_and_server_change_no_bit(
        bin_dir, tmp_path, undisturbed, report):
    expected, statistics = undisturbed
    with FaultyServer(bin_dir, tmp_path) as server:
        server.start()
        with trained(server, disturb=lambda training: unleash(server, training)
                     ) as training:
            monkey = training.monkey
            monkey.ended.set()
            monkey.thread.join()
            found = running_statistics(server)
    counts = monkey.counts
    restarts = sum(worker.restarts for worker in training.workers)
    same = (training.losses == expected.losses and found == statistics
            and digests(training) == digests(expected))
    report(f"kills of workers {counts['worker']}, of the server "
           f"{counts['server']}, inside a barrier {counts['inside']}, workers "
           f"restarted {restarts}; final loss {training.losses[-1]!r}, "
           f"y, dx, statistics and losses {'the same' if same else 'DIFFER'}")
    assert counts["worker"] + counts["server"] >= 12
    assert counts["inside"] >= 4
    assert training.losses == expected.losses
    assert found == statistics
    assert same


def test_the_layers_are_those_of_one_process_with_the_whole_batches(
        undisturbed, bin_dir, tmp_path, report):
    training, statistics = undisturbed
    with FaultyServer(bin_dir, tmp_path, "--store", "memory") as server:
        with dial(server.start().address) as channel:
            stub = pb_grpc.BatchNormServiceStub(channel)
            for name, width in zip(SESSIONS, network.WIDTHS):
                stub.CreateSession(pb.CreateSessionRequest(
                    name=name,
                    config=session_pb2.SessionConfig(channels=width)))
            for ranks in training.records:
                for calls in zip(*ranks):  # the same call of each rank
                    replay(stub, calls)
        assert running_statistics(server) == statistics
    with FaultyServer(bin_dir, tmp_path, "--store", "memory") as server:
        with trained(server.start(), workers=1) as alone:
            worst = max(abs(a - b) / b for a, b in
                        zip(training.losses, alone.losses))
    report(f"{STEPS} steps: the layers' bits are those of one process; the "
           f"losses, through the trainer's own sums, differ by at most "
           f"{worst:.1e} of themselves")
    assert worst < 1e-3
    assert training.losses[-1] < 0.5 * training.losses[0]


def replay(stub, calls):
    """One process sends what the ranks have sent, in one piece."""
    session, step, phase = calls[0][:3]
    sent = np.concatenate([call[3][0] for call in calls])
    if phase == "forward":
        _, gamma, beta = calls[0][3]
        reply = stub.Forward(pb.ForwardRequest(
            session=session, step=step, mode=normalization_pb2.MODE_TRAIN,
            x=tensor(sent), gamma=tensor(gamma), beta=tensor(beta)))
        assert reply.y.data == b"".join(call[4][0] for call in calls)
        assert all(call[4][1] == reply.statistics.SerializeToString(
            deterministic=True) for call in calls)
        return
    reply = stub.Backward(pb.BackwardRequest(
        session=session, step=step, dy=tensor(sent)))
    assert reply.dx.data == b"".join(call[4][0] for call in calls)
    assert all(call[4][1:] == (reply.dgamma.data, reply.dbeta.data)
               for call in calls)
