"""Trains the digits classifier with several workers in sync.

    python3 train.py ADDRESS --digits digits.csv.gz [--workers 4] [--steps 40]
"""

import argparse
import concurrent.futures
import os
import pathlib
import pickle
import subprocess
import sys

import grpc
import numpy as np

import network
from batchnorm.v1 import batch_norm_service_pb2 as pb
from batchnorm.v1 import batch_norm_service_pb2_grpc as pb_grpc
from batchnorm.v1 import session_pb2
from sync_layer import call

WORKER = pathlib.Path(__file__).with_name("worker.py")
SESSIONS = ("digits/bn0", "digits/bn1")
BATCH = 96
LEARNING_RATE = np.float32(0.2)


class Worker:
    """A rank's process; another one takes its place when it dies."""

    def __init__(self, address, rank, job):
        self.command = [sys.executable, str(WORKER), address, str(rank), job,
                        *SESSIONS]
        self.restarts = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            # One thread each, so that numpy's sums are the same bits again.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1",
                 "OMP_NUM_THREADS": "1"})

    def gradients(self, task):
        """Of its shard, however often it has to be started for them."""
        while True:
            try:
                pickle.dump(task, self.process.stdin)
                self.process.stdin.flush()
                return pickle.load(self.process.stdout)
            except (EOFError, BrokenPipeError, pickle.UnpicklingError):
                code = self.process.wait()
                if code >= 0:  # not killed: it has a reason
                    raise RuntimeError(f"a worker ended with {code}") from None
                self.restarts += 1
                self.start()

    def stop(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def shards(rows, workers, step):
    """Uneven, other ones in each step, and now and then an empty one."""
    share = np.random.default_rng(step).dirichlet(np.ones(workers))
    cuts = np.floor(np.cumsum(share)[:-1] * len(rows)).astype(int)
    return np.split(rows, cuts)


def batch_of(step, samples):
    order = np.random.default_rng([1, step]).permutation(samples)
    return order[:BATCH]


def create_sessions(address, workers):
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.BatchNormServiceStub(channel)
        for name, width in zip(SESSIONS, network.WIDTHS):
            call(stub.CreateSession, pb.CreateSessionRequest(
                name=name, config=session_pb2.SessionConfig(
                    channels=width, world_size=workers,
                    gradient_reduction=session_pb2.GRADIENT_REDUCTION_SUM)))


class Training:
    """`on_step` is called with each step's number before it is taken."""

    def __init__(self, address, digits, workers=4, on_step=lambda step: None):
        create_sessions(address, workers)
        self.pixels, self.labels = network.read_digits(digits)
        self.weights = network.initial_weights(seed=1)
        self.workers = [Worker(address, rank, "digits")
                        for rank in range(workers)]
        self.pool = concurrent.futures.ThreadPoolExecutor(workers)
        self.on_step = on_step
        self.losses, self.records = [], []

    def run(self, steps):
        for step in range(1, steps + 1):
            self.on_step(step)
            self.step(step)

    def step(self, step):
        rows = batch_of(step, len(self.labels))
        tasks = [{"step": step, "weights": self.weights, "batch_size": len(rows),
                  "pixels": self.pixels[part], "labels": self.labels[part]}
                 for part in shards(rows, len(self.workers), step)]
        replies = list(self.pool.map(
            lambda worker, task: worker.gradients(task), self.workers, tasks))
        self.losses.append(sum(loss for loss, _, _ in replies))
        self.records.append([record for _, _, record in replies])
        self.descend([gradients for _, gradients, _ in replies])

    def descend(self, gradients):
        """The ranks' gradients in their order: sums must not depend on who was
        first. Those of gamma and beta are the whole batch's already."""
        for name, weight in self.weights.items():
            shared = name.startswith(("gamma", "beta"))
            whole = gradients[0][name] if shared else sum(
                each[name] for each in gradients)
            self.weights[name] = weight - LEARNING_RATE * whole

    def close(self):
        self.pool.shutdown()
        for worker in self.workers:
            worker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--digits", required=True)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    training = Training(options.address, options.digits, options.workers)
    try:
        for step in range(1, options.steps + 1):
            training.step(step)
            print(f"step {step}: loss {training.losses[-1]:.6f}")
    finally:
        training.close()


if __name__ == "__main__":
    main()
