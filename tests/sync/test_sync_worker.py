"""client/examples/sync_worker.py: twenty lines of numpy are a rank."""

import concurrent.futures
import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np

from group import Group, dy_of, shard
from sync_worker import SyncedBatchNorm

WORKER = (pathlib.Path(__file__).resolve().parents[2]
          / "client/examples/sync_worker.py")
GAMMA = np.array([1.5, -0.5, 2.0])
BETA = np.array([0.25, 1.0, -3.0])


def results_in_order(server, order, name):
    """y, dx, dgamma and dbeta of each rank; they come one after the other."""
    with Group(server, 3, name=name) as group, \
            concurrent.futures.ThreadPoolExecutor(3) as pool:
        ranks = [SyncedBatchNorm(stub, name, rank)
                 for rank, stub in enumerate(group.stubs[:3])]

        def in_order(call_of):
            calls = {}
            for there, rank in enumerate(order, start=1):
                calls[rank] = pool.submit(call_of, rank)
                if there < len(order):
                    group.await_ranks(*sorted(order[:there]))
            return [calls[rank].result(30) for rank in range(3)]

        y = in_order(lambda rank: ranks[rank].forward(
            1, shard(rank, 1), GAMMA, BETA))
        gradients = in_order(lambda rank: ranks[rank].backward(
            1, shard(rank, 1), GAMMA, dy_of(rank, 1)))
        return [y, *map(list, zip(*gradients))]


def of_one_process():
    """The textbook, over the whole batch."""
    x = np.concatenate([shard(rank, 1) for rank in range(3)])
    dy = np.concatenate([dy_of(rank, 1) for rank in range(3)])
    inv_std = 1 / np.sqrt(x.var(0) + 1e-5)
    x_hat = (x - x.mean(0)) * inv_std
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
    dx = GAMMA * inv_std * (dy - dbeta / len(x) - x_hat * dgamma / len(x))
    return GAMMA * x_hat + BETA, dx, dgamma, dbeta


def test_three_ranks_get_what_one_process_gets(server):
    y, dx, dgamma, dbeta = results_in_order(server, (0, 1, 2), "layer")
    expected = of_one_process()
    assert np.abs(np.concatenate(y) - expected[0]).max() < 1e-13
    assert np.abs(np.concatenate(dx) - expected[1]).max() < 1e-13
    # Each rank's own part of the sum.
    assert np.abs(sum(dgamma) - expected[2]).max() < 1e-13
    assert np.abs(sum(dbeta) - expected[3]).max() < 1e-13


def test_the_order_in_which_ranks_come_does_not_show(server):
    results = [results_in_order(server, order, f"layer{i}") for i, order in
               enumerate(itertools.permutations(range(3)))]
    as_bytes = [[[part.tobytes() for part in parts] for parts in result]
                for result in results]
    assert all(each == as_bytes[0] for each in as_bytes)


def test_it_runs_as_a_program(server):
    with Group(server, 2, name="program", channels=2):
        ranks = [subprocess.Popen(
            [sys.executable, str(WORKER), server.address, "program", str(rank)],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
            for rank in range(2)]
        said = [rank.communicate(timeout=30)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert all("dgamma" in each for each in said)
